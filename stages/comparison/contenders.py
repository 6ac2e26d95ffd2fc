"""What is compared: anything that says which of a video's tracks an expression refers to.

Legend: N tracks of an expression.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.comparison.video import View
from stages.core.records import Source, TrackId
from stages.core.state.choices import Candidate


@dataclass(frozen=True)
class Verdict:
    """A method's answer for one expression's tracks, in the order of `View.candidates`.

    Attributes:
        logits_N: float64; what thresholds are compared with, and what ranks the tracks.
        chosen_N: bool, where the method decides by itself; None = a threshold decides.
    """

    logits_N: NDArray[np.float64]
    chosen_N: NDArray[np.bool_] | None = None

    @cached_property
    def probability_N(self) -> NDArray[np.float64]:
        from scipy.special import expit

        return expit(self.logits_N)

    def choose(self, threshold: float | None) -> NDArray[np.bool_]:
        """(N,) the chosen tracks, by the pipeline's rule σ(logit) > threshold; None = as the method decides."""
        chosen_N = self.chosen_N if threshold is None else self.probability_N > threshold
        assert chosen_N is not None
        return chosen_N

    def pick(self, candidates: Sequence[TrackId], chosen_N: NDArray[np.bool_]) -> list[Candidate]:
        """Some of the expression's tracks as the records that are scored."""
        return [
            Candidate(*candidates[n], float(self.logits_N[n]), chosen=True) for n in np.flatnonzero(chosen_N).tolist()
        ]


# A video → one verdict per expression.
Method = Callable[[View], list[Verdict]]


@dataclass(frozen=True)
class Cost:
    """What the evidence of a decision took per video, beside tracks and scores.

    Attributes:
        questions: that a model answered.
        seconds: of gathering; None = not known for every video.
    """

    questions: float
    seconds: float | None


@dataclass(frozen=True)
class Contender:
    """A line of the table, or one of the runs that it is the mean of.

    Attributes:
        name: of the line.
        run: of the run, such as "seed 1"; contenders of one name differ in it.
        method: gives its verdicts on a video.
        thresholds: label → a threshold it is measured at ("0.5", "calibrated"); empty where it decides by itself.
        swept: it is measured over all thresholds too.
        needs: a source that the mix must include; None = none.
        only: the one mix of sources that it has verdicts for; None = any.
        note: a remark for the table, once everything is measured.
        cost: of a decision from evidence, once everything is measured; None = it is not one.
        report: JSON values that say how it decides.
        curve: (video, factor) → its verdicts where existence weighs so many times as much; None = it weighs nothing.
    """

    name: str
    method: Method
    run: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    swept: bool = False
    needs: Source | None = None
    only: tuple[Source, ...] | None = None
    note: Callable[[], str] | None = None
    cost: Callable[[], Cost] | None = None
    report: Mapping[str, Any] | None = None
    curve: Callable[[View, float], list[Verdict]] | None = None

    def fits(self, mix: Sequence[Source]) -> bool:
        """Whether it can choose from tracks of these sources."""
        return (self.needs is None or self.needs in mix) and (self.only is None or self.only == tuple(mix))

    def wanted(self) -> str:
        """The sources that `fits` asks for, in words."""
        return "+".join(self.only) if self.only is not None else str(self.needs)
