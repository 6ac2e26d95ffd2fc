"""Contour accuracy F of DAVIS (Perazzi et al., CVPR 2016; the boundary map of Martin et al., PAMI 2004).

The official evaluation dilates each boundary with a disk of radius r and counts the other's pixels inside.
Here each boundary pixel searches the disk around itself instead, within the box of both masks, so that the
cost follows the length of the boundary and not the area of the image. The counts are the same integers and
the arithmetic on them is the same, so F is equal to the last bit.

Legend: T frames, H height, W width (h, w: of a box); N boundary pixels.
"""

import math

import numpy as np
from numpy.typing import NDArray

from stages.metrics.region import Bool, Mask, frame_pairs

DAVIS_RATIO = 0.008


def boundary_f(
    pred_THW: Mask, truth_THW: Mask, void_THW: Mask | None = None, *, bound_ratio: float = DAVIS_RATIO
) -> NDArray[np.float64]:
    """Boundary F of each frame.

    Args:
        pred_THW, truth_THW: masks, nonzero = object.
        void_THW: pixels that leave both masks before boundaries are extracted.
        bound_ratio: tolerance as a share of the image diagonal; 0.008 is official.

    Returns:
        (T,) in 0 … 1; 1 where neither mask has a boundary, which an empty and a full mask have not.

    Raises:
        ValueError: the shapes differ; nothing is resized.
    """
    pairs = frame_pairs(pred_THW, truth_THW, void_THW)
    _, height, width = np.shape(pred_THW)
    radius = bound_radius(height, width, bound_ratio)
    return np.array([_f(pred_HW, truth_HW, radius) for pred_HW, truth_HW in pairs], np.float64)


def bound_radius(height: int, width: int, bound_ratio: float = DAVIS_RATIO) -> int:
    """The tolerance in pixels, ⌈ratio · diagonal⌉."""
    return math.ceil(bound_ratio * math.sqrt(height * height + width * width))


def _f(pred_HW: Bool, truth_HW: Bool, radius: int) -> float:
    pred_hw, truth_hw = _boundaries(pred_HW, truth_HW)
    n_pred, n_truth = np.count_nonzero(pred_hw), np.count_nonzero(truth_hw)
    if n_pred == 0 or n_truth == 0:
        return float(n_pred == n_truth)  # precision 1 and recall 0, or the reverse, give 0
    precision = matched_pixels(pred_hw, truth_hw, radius) / n_pred
    recall = matched_pixels(truth_hw, pred_hw, radius) / n_truth
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundaries(pred_HW: Bool, truth_HW: Bool) -> tuple[Bool, Bool]:
    """The boundary maps of both masks over their common box, which misses no boundary pixel.

    The box has a margin of one pixel where the image does: a boundary lies up to one pixel left of and
    above its mask, and in the margin's last row and column the rule for the image's edge finds nothing.
    """
    import cv2

    boxes = [cv2.boundingRect(m.view(np.uint8)) for m in (pred_HW, truth_HW)]
    boxes = [box for box in boxes if box[2]]
    if not boxes:
        return np.zeros((0, 0), bool), np.zeros((0, 0), bool)
    top, left = (max(min(box[i] for box in boxes) - 1, 0) for i in (1, 0))
    bottom, right = (max(box[i] + box[i + 2] for box in boxes) + 1 for i in (1, 0))
    return tuple(boundary_map(m[top:bottom, left:right]) for m in (pred_HW, truth_HW))  # type: ignore[return-value]


def boundary_map(mask_HW: Bool) -> Bool:
    """(H, W) bool: pixels that differ from their right, lower or lower right neighbour.

    The last row compares to the right only, the last column down only, the last pixel not at all.
    """
    edge_HW = np.zeros_like(mask_HW)
    edge_HW[:-1] = mask_HW[:-1] ^ mask_HW[1:]
    edge_HW[:, :-1] |= mask_HW[:, :-1] ^ mask_HW[:, 1:]
    edge_HW[:-1, :-1] |= mask_HW[:-1, :-1] ^ mask_HW[1:, 1:]
    return edge_HW


def matched_pixels(from_hw: Bool, to_hw: Bool, radius: int) -> int:
    """How many pixels of one boundary lie within `radius` of the other, by integers alone.

    The disk is cut into its rows: a pixel at (y, x) is matched when, for some dy, row y + dy of the other
    boundary holds a pixel in x − ⌊√(r² − dy²)⌋ … x + ⌊√(r² − dy²)⌋: a difference of two running counts.
    """
    apart_y, apart_x = np.divmod(np.flatnonzero(from_hw & ~to_hw), to_hw.shape[1])
    # Padding keeps every row of the disk inside the array, and runs from reaching into the next row.
    counts = np.cumsum(np.pad(to_hw, ((radius, radius), (radius + 1, radius))), dtype=np.int32)
    stride = to_hw.shape[1] + 2 * radius + 1
    left_N = (apart_y + radius) * stride + apart_x + radius + 1
    for dy in sorted(range(-radius, radius + 1), key=abs):
        reach = math.isqrt(radius * radius - dy * dy)
        centre_N = left_N + dy * stride
        left_N = left_N[counts.take(centre_N + reach) == counts.take(centre_N - (reach + 1))]
    return int(np.count_nonzero(from_hw) - len(left_N))
