"""Contour accuracy F of DAVIS (Perazzi et al., CVPR 2016; the boundary map of Martin et al., PAMI 2004).

The official evaluation dilates each boundary with a disk of radius r and counts the other's pixels inside.
Here the boundaries stay ranges of pixels per line, and each line is compared with the other boundary's lines
within r (`stages.metrics.edges`), so the cost follows the length of the boundary and not the area of
the image. The counts are the same integers and the arithmetic on them is the same, so F is equal to the
last bit.

Legend: T frames, H height, W width.
"""

import math

import numpy as np
from numpy.typing import NDArray

from stages.metrics.clips import Clip, from_scans, matches, scan
from stages.metrics.region import Mask, frame_pairs

DAVIS_RATIO = 0.008


def boundary_f(
    pred_THW: Mask, truth_THW: Mask, void_THW: Mask | None = None, *, bound_ratio: float = DAVIS_RATIO
) -> NDArray[np.float64]:
    """Boundary F of each frame.

    Args:
        pred_THW, truth_THW: masks, nonzero = object.
        void_THW: pixels removed from both masks before boundaries are extracted.
        bound_ratio: tolerance as a share of the image diagonal; 0.008 is official.

    Returns:
        (T,) in 0 … 1; 1 where neither mask has a boundary, as for an empty or a full mask.

    Raises:
        ValueError: the shapes differ; nothing is resized.
    """
    pairs = frame_pairs(pred_THW, truth_THW, void_THW)
    _, height, width = np.shape(pred_THW)
    # Pair by pair: binary copies of two masks are in memory at a time, not those of the clip.
    turns_T2 = [(scan(pred_HW), scan(truth_HW)) for pred_HW, truth_HW in pairs]
    pred, truth = (from_scans([turns[i] for turns in turns_T2], height, width) for i in (0, 1))
    return clip_f(pred, truth, bound_radius(height, width, bound_ratio))


def bound_radius(height: int, width: int, bound_ratio: float = DAVIS_RATIO) -> int:
    """The tolerance in pixels, ⌈ratio · diagonal⌉."""
    return math.ceil(bound_ratio * math.sqrt(height * height + width * width))


def clip_f(pred: Clip, truth: Clip, radius: int) -> NDArray[np.float64]:
    """(T,) boundary F of clips without their void pixels; `radius` in pixels."""
    n_pred, n_truth, pred_matched, truth_matched = matches(pred, truth, radius).T
    both = (n_pred > 0) & (n_truth > 0)
    precision, recall = pred_matched / np.maximum(n_pred, 1), truth_matched / np.maximum(n_truth, 1)
    total = precision + recall
    f = 2 * precision * recall / np.where(total > 0, total, 1)
    # One without a boundary: precision 1 and recall 0, or the reverse. Both: 1.
    return np.where(both, f, ((n_pred == 0) & (n_truth == 0)).astype(np.float64))
