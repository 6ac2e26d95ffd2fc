"""The mean of runs, pixel by pixel: of probabilities where a run has them, of votes where it has masks.

    object where  Σ w_r p_r / Σ w_r  >  threshold          p_r = probability, or 1 inside the run's mask and 0 outside

A pixel at the threshold is not the object: of two runs with equal weights, both must hold it. With a lower threshold one
is enough. Nothing is resized. One frame at a time is an image; all else are run lengths.

Legend: T frames, H height, W width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.core.digests import digest
from stages.core.media import masks
from stages.core.records import Rle, Video
from stages.core.state.frames import FrameFolder
from stages.exchange.ensemble.runs import Run, facts_of, logit
from stages.exchange.incoming import Answer

TIE = 1e-9  # of the weights' sum: nearer to the threshold than rounding is at it


@dataclass(frozen=True)
class Mixture:
    """How runs are averaged: a weight of each, in any unit, and the threshold of the mean.

    Raises:
        ValueError: a weight is negative or not finite, all are 0, or the threshold is not between 0 and 1.
    """

    weights: Mapping[str, float]
    threshold: float

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"weight {weight} of run {name!r}: needs a finite number from 0 on")
        if not any(self.weights.values()):
            raise ValueError("all weights are 0: give one run a weight")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold {self.threshold}: needs a number from 0 to below 1")

    @property
    def total(self) -> float:
        return math.fsum(self.weights.values())

    def is_object(self, weighted: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where sums of weights × probabilities are above the threshold."""
        return weighted > (self.threshold + TIE) * self.total


class Mean:
    """Implements `Incoming`: what some runs say together.

    Args:
        runs: of one split; those of weight 0 are not read.
    """

    def __init__(self, runs: Sequence[Run], mixture: Mixture) -> None:
        self.runs, self.mixture = [run for run in runs if mixture.weights[run.name]], mixture
        self.surplus: list[str] = []
        self.notes: list[str] = []

    def facts(self, video: Video) -> str:
        given = [[run.name, self.mixture.weights[run.name], facts_of(run, video)] for run in self.runs]
        return digest([given, self.mixture.threshold])

    def missing(self, video: Video) -> list[str]:
        """Nothing: what a run lacks counts as empty."""
        return []

    def answers(self, video: Video, frames: FrameFolder) -> dict[str, Answer]:
        answers = [run.answers(video, frames) for run in self.runs]
        return {
            expression.id: self._answer(video, frames, expression.id, [of_run.get(expression.id) for of_run in answers])
            for expression in video.expressions
        }

    def _answer(self, video: Video, frames: FrameFolder, expression: str, answers: Sequence[Answer | None]) -> Answer:
        """The mask of every frame; its score is the logit of the runs' mean confidence."""
        nothing = masks.empty(frames.size)
        rles_T = [
            self._frame(video, expression, t, [nothing if a is None else a.rles_T[t] for a in answers], frames.size)
            for t in range(len(frames))
        ]
        return Answer(rles_T, logit(self._confidence(answers)))

    def _frame(self, video: Video, expression: str, t: int, rles: Sequence[Rle], size: tuple[int, int]) -> Rle:
        soft = [run.soft for run in self.runs]
        if not any(soft) and all(rle["counts"] == rles[0]["counts"] for rle in rles):
            return rles[0]  # unanimous
        weighted_HW = np.zeros(size)
        for run, pngs, rle in zip(self.runs, soft, rles, strict=True):
            weight = self.mixture.weights[run.name]
            if pngs is None:
                weighted_HW[masks.decode(rle)] += weight
            elif (probability_HW := pngs.probability(video, expression, t)) is not None:
                weighted_HW += weight * probability_HW
        return masks.encode(self.mixture.is_object(weighted_HW))

    def _confidence(self, answers: Sequence[Answer | None]) -> float:
        confidences = [confidence_of(answer) * self.mixture.weights[r.name] for r, answer in zip(self.runs, answers)]
        return math.fsum(confidences) / self.mixture.total


def confidence_of(answer: Answer | None) -> float:
    """0 … 1; 0 where nothing is answered."""
    from scipy.special import expit  # late: `--help` need not wait for scipy

    return float(expit(answer.score)) if answer is not None and masks.area(answer.rles_T).any() else 0.0
