"""The images that the MLLM sees: whole frames, and frames tiled at their own size.

Whatever the model needs is done to an image as a whole, so a tiled frame is as small in it as its cell.

Legend: H × W a frame, g rows and columns of an image.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.prompting.seg.plan import Plan

Image3 = NDArray[np.uint8]


def draw_images(plan: Plan, load: Callable[[int], Image3]) -> list[Image3]:
    """One image per entry of `plan.images`.

    Args:
        load: index of a frame → (H, W, 3) RGB.
    """
    return [load(frames[0]) if len(frames) == 1 else tiled([load(frame) for frame in frames]) for frames in plan.images]


def tiled(frames: Sequence[Image3]) -> Image3:
    """Frames of one size, row by row in the smallest square that holds them: (g·H, g·W, 3), black where there is none."""
    grid, (height, width) = math.isqrt(len(frames) - 1) + 1, frames[0].shape[:2]
    canvas = np.zeros((grid * height, grid * width, 3), np.uint8)
    for k, frame_HW3 in enumerate(frames):
        row, column = divmod(k, grid)
        canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = frame_HW3
    return canvas
