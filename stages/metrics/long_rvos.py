"""Long-RVOS (2025): J and F, and how well the object's presence and its track through time are found.

    tIoU = |Tg ∩ Tp| / |Tg ∪ Tp|             Tg, Tp: the frames in which truth and prediction are not empty
    vIoU = Σ over Tg ∩ Tp of J / |Tg ∪ Tp|   both 1 where neither mask is ever there

All are means over expressions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.metrics.protocol import Figures, Protocol, Row, boundary_kind, mean_of
from stages.metrics.scene import Answer, Comparison, Scene


def columns(scene: Scene, answer: Answer, comparison: Comparison) -> dict[str, Any]:
    truth_T, pred_T = comparison.truth.area > 0, comparison.pred.area > 0
    both_T, n_either = truth_T & pred_T, np.count_nonzero(truth_T | pred_T)
    if n_either == 0:
        return {"tIoU": 1.0, "vIoU": 1.0}
    return {
        "tIoU": float(np.count_nonzero(both_T) / n_either),
        "vIoU": float(comparison.j_T[both_T].sum() / n_either),
    }


def figures(rows: Sequence[Row], extras: Mapping[str, Any]) -> Figures:
    return mean_of(rows, "J", "F", "J&F", "tIoU", "vIoU")


def title(rows: Sequence[Row]) -> str:
    return f"Long-RVOS: mean over expressions; {boundary_kind(rows)}, tIoU and vIoU over the frames of either mask"


LONG_RVOS = Protocol("J&F", title, figures, columns=columns)
