"""Scenes of hand-made courses: boxes that go where they are told, before a background with corners."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.evidence.views.scene import Scene

SIZE = (120, 160)
N_FRAMES = 24


def line(start: tuple[float, float], end: tuple[float, float], n: int = N_FRAMES) -> NDArray[np.float64]:
    """(n, 2) from one place to another, steadily."""
    return np.linspace(start, end, n)


def stay(place: tuple[float, float], n: int = N_FRAMES) -> NDArray[np.float64]:
    return np.tile(np.array(place, float), (n, 1))


def circle(centre: tuple[float, float], radius: float, turns: float = 1.0) -> NDArray[np.float64]:
    angle_T = np.linspace(0, 2 * np.pi * turns, N_FRAMES)
    return np.array(centre) + radius * np.stack([np.cos(angle_T), np.sin(angle_T)], 1)


def course_scene(
    paths: Sequence[NDArray[np.float64]],
    sides: Sequence[float | NDArray[np.float64]] | None = None,
    hidden: Sequence[Sequence[int]] = (),
    camera: NDArray[np.float64] | None = None,
) -> Scene:
    """Squares whose centres follow `paths` (T, 2) in the world; what is outside the picture is cut off or absent.

    Args:
        sides: of the squares, 16 pixels by default; an array has one value per frame.
        hidden: (candidate, frame) where it cannot be seen although it is in the picture.
        camera: (T, 2) the picture's corner in the world.
    """
    height, width = SIZE
    camera = np.zeros((N_FRAMES, 2)) if camera is None else camera
    boxes = []
    for n, path_T2 in enumerate(paths):
        half = np.broadcast_to(np.asarray(16.0 if sides is None else sides[n]), N_FRAMES)[:, None] / 2
        boxes.append(np.concatenate([path_T2 - camera - half, path_T2 - camera + half], 1))
    boxes_NT4 = np.stack(boxes).clip(0, [width, height, width, height])
    area_NT = ((boxes_NT4[..., 2] - boxes_NT4[..., 0]) * (boxes_NT4[..., 3] - boxes_NT4[..., 1])).astype(int)
    for n, t in hidden:
        area_NT[n, t] = 0
    visible_NT = area_NT > 4
    boxes_NT4[~visible_NT] = 0
    world_HW3 = np.kron(np.random.default_rng(0).integers(60, 200, (45, 45, 3)), np.ones((8, 8, 1))).astype(np.uint8)

    def frame(t: int) -> NDArray[np.uint8]:
        x, y = (round(float(v)) + 60 for v in camera[t])
        frame_HW3 = world_HW3[y : y + height, x : x + width].copy()
        for n, (x0, y0, x1, y1) in enumerate(boxes_NT4[:, t].round().astype(int)):
            frame_HW3[y0:y1, x0:x1] = (255, 40 * n, 0)
        return frame_HW3

    def mask(n: int, t: int) -> NDArray[np.bool_]:
        mask_HW = np.zeros(SIZE, bool)
        x0, y0, x1, y1 = boxes_NT4[n, t].round().astype(int)
        mask_HW[y0:y1, x0:x1] = True
        return mask_HW

    names = [f"{t:05d}" for t in range(N_FRAMES)]
    return Scene(
        SIZE, names, boxes_NT4.astype(np.float32), visible_NT, area_NT, np.where(visible_NT, 5.0, -5.0), frame, mask
    )
