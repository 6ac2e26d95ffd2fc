"""Exact masks. Arithmetic on sixteenths of pixels, which float32 holds exactly: every machine gives the same masks.

Legend: N objects from the farthest to the nearest, T frames, H height, W width, S side of an object's window.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.worlds.shapes.scene import Float, Scene, Size, Thing, rounded

Bool = NDArray[np.bool_]
Points = Sequence[tuple[float, float]]
REACH = 1.4  # no corner is farther from the centre, in radii


def _star(tips: int, inner: float) -> Points:
    turns = [(i / (2 * tips), 1.15 if i % 2 == 0 else inner) for i in range(2 * tips)]
    return [(r * math.sin(2 * math.pi * turn), -r * math.cos(2 * math.pi * turn)) for turn, r in turns]


# Corners in radii; the areas are similar.
POLYGONS: Mapping[str, Points] = {
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0, -1.15), (1.15, 0.9), (-1.15, 0.9)],
    "diamond": [(0, -1.35), (0.8, 0), (0, 1.35), (-0.8, 0)],
    "star": _star(5, 0.55),
    "cross": [
        *((-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4)),
        *((0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4)),
    ],
    "bar": [(-1.3, -0.5), (1.3, -0.5), (1.3, 0.5), (-1.3, 0.5)],
}
SHAPES = ("circle", *POLYGONS)


@dataclass(frozen=True)
class Window:
    """A square cut-out that moves with an object and holds all of it, in the image or not.

    Attributes:
        corner_T2: int, x and y of its upper left pixel in the image; may be negative.
        x_TS, y_TS: float32, centres of its pixels relative to the object's centre.
        mask_TSS: bool, the pixels whose centres the object covers.
    """

    corner_T2: NDArray[np.int64]
    x_TS: NDArray[np.float32]
    y_TS: NDArray[np.float32]
    mask_TSS: Bool

    def cut(self, t: int, size: Size) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Where frame t's window is in the image, and that part within the window; None = out of the image."""
        x, y = map(int, self.corner_T2[t])
        side, (height, width) = self.mask_TSS.shape[1], size
        left, right, top, bottom = max(x, 0), min(x + side, width), max(y, 0), min(y + side, height)
        if left >= right or top >= bottom:
            return None
        return (slice(top, bottom), slice(left, right)), (slice(top - y, bottom - y), slice(left - x, right - x))


def window_of(shape: str, path_T2: Float, radius_T: Float, angle_T: Float) -> Window:
    """The footprint of an object whose centres in the image are `path_T2`."""
    side = 2 * math.ceil(REACH * float(radius_T.max()) + 1)
    corner_T2 = np.floor(path_T2).astype(np.int64) - side // 2
    pixels_TS2 = corner_T2[:, None] + np.arange(side)[None, :, None] + 0.5 - path_T2[:, None]
    x_TS, y_TS = (np.ascontiguousarray(pixels_TS2[..., i], np.float32) for i in (0, 1))
    if shape == "circle":
        squared_T11 = radius_T.astype(np.float32)[:, None, None] ** 2
        return Window(corner_T2, x_TS, y_TS, x_TS[:, None] ** 2 + y_TS[..., None] ** 2 <= squared_T11)
    return Window(corner_T2, x_TS, y_TS, _inside(corners_of(shape, radius_T, angle_T), x_TS, y_TS))


def corners_of(shape: str, radius_T: Float, angle_T: Float) -> Float:
    """(T, K, 2) corners relative to the centre, rounded to 1/16."""
    corners_K2 = np.array(POLYGONS[shape])
    turn_T = np.radians(angle_T)
    cos_T1, sin_T1 = np.cos(turn_T)[:, None], np.sin(turn_T)[:, None]
    x_TK = corners_K2[:, 0] * cos_T1 - corners_K2[:, 1] * sin_T1
    y_TK = corners_K2[:, 0] * sin_T1 + corners_K2[:, 1] * cos_T1
    return rounded(np.stack([x_TK, y_TK], -1) * radius_T[:, None, None])


def _inside(corners_TK2: Float, x_TS: NDArray[np.float32], y_TS: NDArray[np.float32]) -> Bool:
    """Even-odd rule: how many edges does a ray to the right cross?"""
    corners_TK2 = corners_TK2.astype(np.float32)
    inside_TSS = np.zeros((*x_TS.shape, x_TS.shape[1]), bool)
    for k in range(corners_TK2.shape[1]):
        (x1_T, y1_T), (x2_T, y2_T) = corners_TK2[:, k - 1].T, corners_TK2[:, k].T
        crosses_TS = (y1_T[:, None] > y_TS) != (y2_T[:, None] > y_TS)
        # The edge is right of the pixel: a cross product, exact for sixteenths, instead of a quotient.
        up_T1 = np.sign(y2_T - y1_T)[:, None]
        run_TS = up_T1 * ((y2_T - y1_T)[:, None] * (x_TS - x1_T[:, None]))
        rise_TS = up_T1 * ((x2_T - x1_T)[:, None] * (y_TS - y1_T[:, None]))
        inside_TSS ^= crosses_TS[..., None] & (run_TS[:, None] < rise_TS[..., None])
    return inside_TSS


def window_in(scene: Scene, thing: Thing) -> Window:
    return window_of(thing.shape, scene.seen_path(thing), thing.radius_T, thing.angle_T)


def wall_masks(scene: Scene) -> Bool:
    """(T, H, W) where a wall stands before everything."""
    height, width = scene.size
    x_TW = np.arange(width) + 0.5 + scene.camera_T2[:, :1]
    y_TH = np.arange(height) + 0.5 + scene.camera_T2[:, 1:]
    masks_THW = np.zeros((scene.n_frames, height, width), bool)
    for wall in scene.walls:
        across_TW = (x_TW > wall.x0) & (x_TW < wall.x1)
        masks_THW |= ((y_TH > wall.y0) & (y_TH < wall.y1))[..., None] & across_TW[:, None]
    return masks_THW


def footprints(windows: Sequence[Window], size: Size) -> Bool:
    """(N, T, H, W) the objects' pixels in the image, hidden or not."""
    full_NTHW = np.zeros((len(windows), len(windows[0].corner_T2), *size), bool)
    for full_THW, window in zip(full_NTHW, windows):
        for t in range(len(full_THW)):
            if cut := window.cut(t, size):
                full_THW[t][cut[0]] = window.mask_TSS[t][cut[1]]
    return full_NTHW


def visible_masks(scene: Scene, windows: Sequence[Window] | None = None) -> Bool:
    """(N, T, H, W) what is visible of each object, nearer ones and walls in front."""
    windows = windows or [window_in(scene, thing) for thing in scene.things]
    masks_NTHW = footprints(windows, scene.size)
    taken_THW = wall_masks(scene)
    for i in reversed(range(len(windows))):
        for t in range(scene.n_frames):
            if cut := windows[i].cut(t, scene.size):
                full_HW, taken_HW = masks_NTHW[i, t][cut[0]], taken_THW[t][cut[0]]
                visible_HW = full_HW & ~taken_HW
                taken_HW |= full_HW
                full_HW[:] = visible_HW
    return masks_NTHW
