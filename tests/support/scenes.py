"""A scene of squares that keep their places or move, on noise or plain grey: what views are tested on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.evidence.views.scene import Scene


def scene_of(
    corners_NT2: NDArray[np.integer],
    side: int,
    size: tuple[int, int],
    absent: Sequence[Sequence[int]] = (),
    noise: bool = True,
) -> Scene:
    """Squares of `side` pixels with their upper left corners (y, x) at these places.

    Args:
        absent: (candidate, frame) where a square is not there.
    """
    n, n_frames = corners_NT2.shape[:2]
    visible_NT = np.ones((n, n_frames), bool)
    for k, t in absent:
        visible_NT[k, t] = False
    y0, x0 = corners_NT2[..., 0], corners_NT2[..., 1]
    boxes_NT4 = np.stack([x0, y0, x0 + side, y0 + side], -1) * visible_NT[..., None]

    def frame(t: int) -> NDArray[np.uint8]:
        return np.random.default_rng(t).integers(60 if noise else 100, 200 if noise else 101, (*size, 3), np.uint8)

    def mask(k: int, t: int) -> NDArray[np.bool_]:
        mask_HW = np.zeros(size, bool)
        if visible_NT[k, t]:
            y, x = corners_NT2[k, t]
            mask_HW[y : y + side, x : x + side] = True
        return mask_HW

    return Scene(
        size=size,
        names=[f"{t:05d}" for t in range(n_frames)],
        boxes_NT4=boxes_NT4.astype(np.float32),
        visible_NT=visible_NT,
        area_NT=side * side * visible_NT.astype(np.uint32),
        object_NT=np.where(visible_NT, 5.0, -5.0).astype(np.float32),
        frame=frame,
        mask=mask,
    )


def eight_squares(size: tuple[int, int], n_frames: int) -> Scene:
    """Eight squares in two rows of four that drift to the right, a pixel per frame."""
    height, width = size
    side = min(height // 3, width // 6)
    corners = [
        (height // 8 + row * height // 2, width // 32 + column * width // 4) for row in (0, 1) for column in range(4)
    ]
    drift_T2 = np.stack([np.zeros(n_frames, int), np.minimum(np.arange(n_frames), width // 24)], -1)
    return scene_of(np.array(corners)[:, None] + drift_T2[None], side, size)
