"""Region similarity J (Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for VOS", CVPR 2016).

Legend: T frames, H height, W width; pred = prediction, truth = ground truth, void = pixels left out.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[Any]  # any dtype; nonzero = object
Bool = NDArray[np.bool_]


def jaccard(pred_THW: Mask, truth_THW: Mask, void_THW: Mask | None = None) -> NDArray[np.float64]:
    """Intersection over union of each frame.

    Args:
        pred_THW, truth_THW: masks, nonzero = object.
        void_THW: pixels that count for neither mask.

    Returns:
        (T,) in 0 … 1; 1 where both masks are empty.

    Raises:
        ValueError: the shapes differ; nothing is resized.
    """
    pairs = frame_pairs(pred_THW, truth_THW, void_THW)
    return np.array([_jaccard(pred_HW, truth_HW) for pred_HW, truth_HW in pairs], np.float64)


def frame_pairs(pred_THW: Mask, truth_THW: Mask, void_THW: Mask | None) -> Iterator[tuple[Bool, Bool]]:
    """Each frame's two binary masks without their void pixels; raises ValueError where shapes differ."""
    shapes = [np.shape(m) for m in (pred_THW, truth_THW, void_THW) if m is not None]
    if len(shapes[0]) != 3 or len(set(shapes)) != 1:
        raise ValueError(f"masks to compare need one shape (T, H, W); got {' and '.join(map(str, shapes))}")
    return _pairs(pred_THW, truth_THW, void_THW)


def _pairs(pred_THW: Mask, truth_THW: Mask, void_THW: Mask | None) -> Iterator[tuple[Bool, Bool]]:
    for t in range(len(pred_THW)):
        pred_HW, truth_HW = _binary(pred_THW[t]), _binary(truth_THW[t])
        if void_THW is not None:
            kept_HW = ~_binary(void_THW[t])
            pred_HW, truth_HW = pred_HW & kept_HW, truth_HW & kept_HW
        yield pred_HW, truth_HW


def _binary(mask_HW: Mask) -> Bool:
    return mask_HW if mask_HW.dtype == np.bool_ else mask_HW != 0


def _jaccard(pred_HW: Bool, truth_HW: Bool) -> float:
    from stages.metrics import turns

    pred, truth = (np.ascontiguousarray(mask).reshape(-1).view(np.uint8) for mask in (pred_HW, truth_HW))
    inter, union = turns.count(pred, truth)
    if union < 0:  # bytes of a bool may hold anything
        inter, union = turns.count((pred != 0).view(np.uint8), (truth != 0).view(np.uint8))
    return inter / union if union else 1.0
