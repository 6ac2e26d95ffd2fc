"""Drawing: exact masks, and frames that are pleasant enough to look at.

Masks come from integer-like arithmetic on 1/16 pixels, so they are the same on every machine; pixels of
frames pass through interpolation and JPEG, and are only nearly so.

Legend: N objects from the farthest to the nearest, T frames, H = 96, W = 128.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.datasets.shapes.motion import HEIGHT, SUBPIXEL, WIDTH, Generator
from stages.datasets.shapes.scene import COLOURS, Thing

Bool = NDArray[np.bool_]
Points = Sequence[tuple[float, float]]


def _star(tips: int, inner: float) -> Points:
    turns = [(i / (2 * tips), 1.15 if i % 2 == 0 else inner) for i in range(2 * tips)]
    return [(r * math.sin(2 * math.pi * turn), -r * math.cos(2 * math.pi * turn)) for turn, r in turns]


# Corners in units of the radius; every polygon has roughly the area of the circle.
POLYGONS: Mapping[str, Points] = {
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0, -1.15), (1.15, 0.9), (-1.15, 0.9)],
    "diamond": [(0, -1.25), (1.05, 0), (0, 1.25), (-1.05, 0)],
    "star": _star(5, 0.55),
    "cross": [
        *((-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4)),
        *((0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4)),
    ],
}
SHAPES = ("circle", *POLYGONS)
Y_HW, X_HW = np.mgrid[:HEIGHT, :WIDTH] + 0.5  # centres of pixels


def footprint(shape: str, radius: float, x: float, y: float) -> Bool:
    """(H, W) bool: the pixels whose centres the object covers, hidden or not. Outside the image there are none."""
    if shape == "circle":
        return (X_HW - x) ** 2 + (Y_HW - y) ** 2 <= radius**2
    corners = [(_round(px * radius) + x, _round(py * radius) + y) for px, py in POLYGONS[shape]]
    inside_HW = np.zeros((HEIGHT, WIDTH), bool)
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]]):
        if y1 == y2:
            continue
        crosses_HW = (y1 > Y_HW) != (y2 > Y_HW)
        # The edge lies right of the pixel: a cross product, exact for sixteenths, instead of a quotient.
        side_HW = (X_HW - x1) * (y2 - y1) - (Y_HW - y1) * (x2 - x1)
        inside_HW ^= crosses_HW & ((side_HW < 0) if y2 > y1 else (side_HW > 0))
    return inside_HW


def full_area(shape: str, radius: float) -> int:
    """Pixels of the object in the middle of the image."""
    return int(footprint(shape, radius, WIDTH / 2, HEIGHT / 2).sum())


def visible_masks(things: Sequence[Thing]) -> tuple[Bool, NDArray[np.int64]]:
    """(N, T, H, W) what is visible of each object, nearer ones in front; (N,) full areas in pixels."""
    prints_NTHW = np.stack([np.stack([footprint(t.shape, t.radius, x, y) for x, y in t.path_T2]) for t in things])
    nearer_THW = np.zeros_like(prints_NTHW[0])
    for i in reversed(range(len(things))):
        covered_THW = prints_NTHW[i].copy()
        prints_NTHW[i] &= ~nearer_THW
        nearer_THW |= covered_THW
    return prints_NTHW, np.array([full_area(t.shape, t.radius) for t in things])


def draw_frames(rng: Generator, things: Sequence[Thing], masks_NTHW: Bool) -> NDArray[np.uint8]:
    """(T, H, W, 3) RGB uint8: shaded objects before a texture that stands still."""
    background_HW3 = _background(rng)
    grain_HW1 = rng.normal(0, 3, (HEIGHT, WIDTH, 1))
    frames_THW3 = np.repeat(background_HW3[None], masks_NTHW.shape[1], 0)
    for thing, masks_THW in zip(things, masks_NTHW):
        colour = np.array(COLOURS[thing.colour], np.float64)
        for frame_HW3, mask_HW, (x, y) in zip(frames_THW3, masks_THW, thing.path_T2):
            distance_HW = np.hypot(X_HW - x + thing.radius / 3, Y_HW - y + thing.radius / 3) / thing.radius
            lit_HW3 = colour * (1.12 - 0.28 * distance_HW[..., None]) + 14 * (1 - distance_HW[..., None])
            frame_HW3[mask_HW] = lit_HW3[mask_HW]
    return np.clip(np.round(frames_THW3 + grain_HW1), 0, 255).astype(np.uint8)


def _background(rng: Generator) -> NDArray[np.float64]:
    """(H, W, 3) float: soft grey-brown clouds at two scales."""
    import cv2

    texture_HW3 = np.full((HEIGHT, WIDTH, 3), rng.uniform(95, 150)) + rng.uniform(-14, 14, 3)
    for cells, strength in ((4, 22.0), (16, 14.0)):
        grid = rng.normal(0, strength, (cells * 3 // 4, cells, 1)) + rng.normal(
            0, strength / 4, (cells * 3 // 4, cells, 3)
        )
        texture_HW3 += cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return texture_HW3


def _round(value: float) -> float:
    return round(value * SUBPIXEL) / SUBPIXEL
