"""ReVOS (Yan et al., VISA, ECCV 2024): J, F, accuracy A and robustness R, separately for referring and reasoning.

Each expression's means over frames are rounded to two decimals of a percentage, as the authors' script stores
them; a group's figure is the mean over its expressions, the overall figure the plain mean of the two groups.
Hallucination expressions are not scored.

    A  share of pixels that are correct
    R  max(1 − Σ (1 − truth)·pred / (Σ foreground + 1e-6), 0)

The published scorers compute both on predictions of 0 and 255 and on truths that are summed in uint8, so that
a wrong pixel counts 255 times, one in n > 1 overlapping truths n − 1 times, and no foreground pixel is ever
correct. A and R here are the formulas as written, on binary masks; A_legacy255 and R_legacy255 reproduce the
published arithmetic, for comparison with published figures.

Legend: T frames.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.metrics import clips
from stages.metrics.protocol import Figures, Protocol, Row, boundary_kind, mean
from stages.metrics.scene import Answer, Comparison, Scene

GROUPS = ("referring", "reasoning")
COLUMNS = ("J", "F", "A", "R", "A_legacy255", "R_legacy255")
EPSILON = 1e-6


def columns(scene: Scene, answer: Answer, comparison: Comparison) -> dict[str, Any]:
    """A and R of an expression, R null where the data set has no foreground masks."""
    pred, union_T, shared_T = comparison.pred, comparison.union_T, comparison.intersection_T
    n_pixels, false_T = pred.n_pixels, pred.area - shared_T
    row: dict[str, Any] = {
        "A": float((1 - (union_T - shared_T) / n_pixels).mean()),
        "A_legacy255": float((1 - union_T / n_pixels).mean()),  # 255 is never equal to a truth of 1
        "R": None,
        "R_legacy255": None,
    }
    if scene.foreground is not None:
        fg_T = scene.foreground.area + EPSILON
        # uint8: (1 − n)·255 = n − 1 in a pixel of n truths, and 255 where there is none
        keys = answer.expression.annotations or ()
        overlaps_T = sum((clips.intersection(pred, scene.annotations[key]) for key in keys), np.zeros_like(false_T))
        wrapped_T = 255 * false_T + overlaps_T - shared_T
        row["R"] = float(np.maximum(1 - false_T / fg_T, 0).mean())
        row["R_legacy255"] = float(np.maximum(1 - wrapped_T / fg_T, 0).mean())
    return row


def figures(rows: Sequence[Row], extras: Mapping[str, Any]) -> Figures:
    """The plain mean of the two groups, or the only group that has rows."""
    groups = [[row for row in rows if row["group"] == name] for name in GROUPS]
    present = [group for group in groups if group]
    if not present:
        return dict.fromkeys(("J&F", *COLUMNS))
    parts = [_of_group(group) for group in present]
    return {name: _mean_of_all([part[name] for part in parts]) for name in parts[0]}


def _of_group(rows: Sequence[Row]) -> Figures:
    means: Figures = {name: _rounded_mean([row[name] for row in rows]) for name in COLUMNS}
    j, f = means["J"], means["F"]
    return {"J&F": None if j is None or f is None else (j + f) / 2, **means}


def _rounded_mean(values: Sequence[float | None]) -> float | None:
    percent = _mean_of_all([None if value is None else round(100 * value, 2) for value in values])
    return None if percent is None else percent / 100


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    """None where a value is not known."""
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


def title(rows: Sequence[Row]) -> str:
    names = [name for name in GROUPS if any(row["group"] == name for row in rows)]
    overall = "plain mean of referring and reasoning" if len(names) == 2 else f"{' '.join(names) or 'no group'} only"
    return (
        f"ReVOS: {overall}, of means over expressions rounded to 0.01 %; A and R on binary masks, *_legacy255 as "
        f"published; {boundary_kind(rows)}"
    )


REVOS = Protocol("J&F", title, figures, columns=columns)
