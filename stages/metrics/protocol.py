"""The interface of a protocol: how a data set is scored.

A protocol adds columns to a row (one expression), keeps what its figures need of a video as a whole, and turns
the rows of a split into figures. Everything in between is the same for all: see `stages.metrics.scene` for
rows, `stages.metrics.report` for summaries.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.metrics.boundary import DAVIS_RATIO
from stages.metrics.scene import Answer, Comparison, Scene

Row = Mapping[str, Any]
Figures = dict[str, float | None]
# A video's answers and how they compare.
Scored = Sequence[tuple[Answer, Comparison]]


@dataclass(frozen=True)
class Protocol:
    """How the authors of a data set score it.

    Attributes:
        metric: the figure that is quoted.
        title: the label that figures are quoted under, from the rows they are made of.
        figures: rows with scores, and video → what `extra` kept → figures in 0 … 1, None = not defined.
        columns: columns of a row besides J and F.
        extra: what is kept of a video besides its rows, from all its answers; None = nothing.
        holding_only: frames in which the referred object is not annotated do not count.
    """

    metric: str
    title: Callable[[Sequence[Row]], str]
    figures: Callable[[Sequence[Row], Mapping[str, Any]], Figures]
    columns: Callable[[Scene, Answer, Comparison], dict[str, Any]] | None = None
    extra: Callable[[Scene, Scored, float], dict[str, Any]] | None = None
    holding_only: bool = False


def mean(values: Iterable[float]) -> float | None:
    """The plain mean; None without values. Rounded once, so that the order of the values changes no bit."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else None


def mean_of(rows: Sequence[Row], *names: str) -> Figures:
    """The means over the rows of some columns; rows without a value are left out."""
    return {name: mean(row[name] for row in rows if row[name] is not None) for name in names}


def boundary_kind(rows: Sequence[Row]) -> str:
    """How F was computed; a changed tolerance is not called official.

    Raises:
        ValueError: the rows were made with several boundary ratios.
    """
    ratios = {row["boundary_ratio"]: row["video"] for row in reversed(rows)}
    if len(ratios) > 1:
        seen = ", ".join(f"{ratio} in video {video}" for ratio, video in sorted(ratios.items()))
        again = "run `python -m stages.evaluate` on the split again, with --overwrite"
        raise ValueError(f"rows of several boundary ratios ({seen}) have no common F; {again}")
    (ratio,) = ratios
    return "official DAVIS J and F" if ratio == DAVIS_RATIO else f"DAVIS J and F, F with boundary ratio {ratio}"
