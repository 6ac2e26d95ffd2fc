"""Frames and masks at the size at which a model sees them.

Frames are brought to display size first and drawn on afterwards, so that outlines and numbers are as legible in a large
video as in a small one.
"""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def display_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """(height, width) with the longest side `side` and the aspect of `size`, at least 1 pixel each."""
    height, width = size
    scale = side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_frame(frame_HW3: Image, size: tuple[int, int]) -> Image:
    """Area average when shrinking, bicubic when enlarging."""
    import cv2

    shrinks = size[0] < frame_HW3.shape[0]
    return cv2.resize(frame_HW3, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def resize_mask(mask_HW: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels covered by half or more; a mask too thin for that keeps every pixel it touches."""
    import cv2

    shrinks = size[0] < mask_HW.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    cover_HW = cv2.resize(mask_HW.astype(np.float32), size[::-1], interpolation=interpolation)
    covered_HW = cover_HW >= 0.5
    return covered_HW if covered_HW.any() else cover_HW > 0
