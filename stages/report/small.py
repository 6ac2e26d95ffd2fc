"""Frames and masks at the size of a page: what a player needs, and no more.

A mask is shrunk by taking every k-th row and column, so that an object keeps its outline to within a pixel of the page.

Legend: T frames, H height, W width, 3 RGB.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Rle
from stages.metrics.clips import from_rles, intersection

SIDE = 480  # pixels of the longest side of videos and masks on a page
Image3 = NDArray[np.uint8]


def stride_of(size: tuple[int, int], side: int = SIDE) -> int:
    """Every how many-th row and column is kept."""
    return max(1, -(-max(size) // side))


def small_size(size: tuple[int, int], side: int = SIDE) -> tuple[int, int]:
    """(height, width) of what `shrink_mask` and `shrink_frame` give."""
    k = stride_of(size, side)
    return -(-size[0] // k), -(-size[1] // k)


def shrink_mask(rle: Rle | None, size: tuple[int, int]) -> Rle | None:
    """The mask at `small_size`; None where there is no pixel."""
    if rle is None or not masks.area([rle])[0]:
        return None
    k = stride_of(size)
    return masks.encode(masks.decode(rle)[::k, ::k]) if k > 1 else rle


def shrink_frame(image_HW3: Image3) -> Image3:
    """The frame at `small_size`."""
    import cv2

    size: tuple[int, int] = (image_HW3.shape[0], image_HW3.shape[1])
    height, width = small_size(size)
    return (
        image_HW3 if (height, width) == size else cv2.resize(image_HW3, (width, height), interpolation=cv2.INTER_AREA)
    )


def counts_of(rles_T: Iterable[Rle | None]) -> list[str]:
    """The masks as a page reads them: COCO's counts, "" where there is no pixel."""
    return ["" if rle is None else rle["counts"] for rle in rles_T]


def joined(tracks: Sequence[Sequence[Rle | None]], size: tuple[int, int], n_frames: int) -> list[Rle | None]:
    """Per frame the union of some tracks' masks."""
    together: list[Rle | None] = []
    for t in range(n_frames):
        present = [rle for track in tracks if (rle := track[t]) is not None]
        together.append(present[0] if len(present) == 1 else masks.union(present, size) if present else None)
    return together


def worst_frame(pred_T: Sequence[Rle | None], truth_T: Sequence[Rle | None] | None, size: tuple[int, int]) -> int:
    """The frame to show: where prediction and truth differ most; without truth, where most is marked.

    Where nothing is marked at all, the one in the middle.
    """
    pred = from_rles(pred_T, size)
    differing_T = pred.area
    if truth_T is not None:
        truth = from_rles(truth_T, size)
        differing_T = pred.area + truth.area - 2 * intersection(pred, truth)
        if not differing_T.any():
            differing_T = truth.area
    return int(differing_T.argmax()) if differing_T.any() else len(pred_T) // 2
