"""Weights and threshold of a mean from votes on videos whose truth is known.

As many parameters as runs: their weights, whose sum is 1, and the threshold. Each is set in turn to the best of a grid,
the others as they are, until none gains; from equal weights of all runs, of all but the worst, and so on. The aim is J, mean over frames, then
over sentences: exact from votes, without an image. Fitted parameters are taken only where they beat equal weights in
cross-validation over videos.

Legend: R runs, U rows of votes, F frames of sentences, E sentences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.exchange.ensemble.mean import TIE
from stages.exchange.ensemble.votes import LEVELS, Votes, joined

STEPS = 20  # of a weight and of the threshold, from 0 to 1
GAIN = 1e-5  # of J: less is not worth a step
FOLDS = 5
HALF = 0.5

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Parameters:
    """
    Attributes:
        weight_R: not negative, of sum 1.
        threshold: 0 … 1.
    """

    weight_R: Weights
    threshold: float


@dataclass(frozen=True)
class Fitted:
    """
    Attributes:
        parameters: the fitted ones, or equal weights where they are not better.
        taken: whether they are the fitted ones.
        equal, fitted, held_out: J of equal weights, of the fitted parameters, and of parameters that were fitted to other
            videos.
        alone_R: J of each run.
        n_videos, n_sentences, n_frames: that were fitted to.
    """

    parameters: Parameters
    taken: bool
    equal: float
    fitted: float
    held_out: float
    alone_R: list[float]
    n_videos: int
    n_sentences: int
    n_frames: int


def fit(parts: Sequence[Votes]) -> Fitted:
    """
    Args:
        parts: the votes of each video.

    Raises:
        ValueError: fewer than two videos hold a sentence of known truth.
    """
    parts = [part for part in parts if len(part.truth_F)]
    if len(parts) < 2:
        raise ValueError("weights are fitted to at least 2 videos with sentences of known truth")
    whole = Table.of(joined(parts))
    best, held_out = search(whole), _held_out(parts)
    equal = equal_weights(whole.n_runs)
    j_equal = whole.j(equal)
    taken = held_out > j_equal + GAIN
    return Fitted(
        best if taken else equal,
        taken,
        j_equal,
        whole.j(best),
        held_out,
        whole.alone(),
        len(parts),
        whole.n_sentences,
        len(whole.votes.truth_F),
    )


def _held_out(parts: Sequence[Votes]) -> float:
    """J of all videos, each with parameters that were fitted without it."""
    folds = min(FOLDS, len(parts))
    total, n_sentences = 0.0, 0
    for fold in range(folds):
        table = Table.of(joined([part for i, part in enumerate(parts) if i % folds == fold]))
        learnt = search(Table.of(joined([part for i, part in enumerate(parts) if i % folds != fold])))
        total, n_sentences = total + table.j(learnt) * table.n_sentences, n_sentences + table.n_sentences
    return total / n_sentences


@dataclass(frozen=True)
class Table:
    """Votes as they are asked about again and again: rows that say the same are judged once."""

    votes: Votes
    share_PR: Weights
    which_U: NDArray[np.int64]

    @classmethod
    def of(cls, votes: Votes) -> "Table":
        level_PR, which_U = np.unique(votes.level_UR, axis=0, return_inverse=True)
        return cls(votes, level_PR / LEVELS, which_U.reshape(-1))

    @property
    def n_runs(self) -> int:
        return self.share_PR.shape[1]

    @property
    def n_sentences(self) -> int:
        return self.votes.n_sentences

    def alone(self) -> list[float]:
        """J of each run."""
        return [self.j(Parameters(weight_R, HALF)) for weight_R in np.eye(self.n_runs)]

    def j(self, parameters: Parameters) -> float:
        """Mean over the frames of a sentence, then over sentences; 1 where nothing is there and nothing is said."""
        votes, n_frames = self.votes, len(self.votes.truth_F)
        on_P = self.share_PR @ parameters.weight_R > parameters.threshold + TIE
        on_U = on_P[self.which_U]
        shared_F = np.bincount(votes.frame_U, votes.inside_U * on_U, n_frames)
        union_F = votes.truth_F + np.bincount(votes.frame_U, votes.outside_U * on_U, n_frames)
        j_F = np.where(union_F > 0, shared_F / np.maximum(union_F, 1), 1.0)
        return float((np.bincount(votes.sentence_F, j_F) / np.bincount(votes.sentence_F)).mean())


def search(table: Table) -> Parameters:
    """The best of the climbs; ties go to the one from more runs."""
    order = np.argsort([-j for j in table.alone()], kind="stable")
    starts = [equal_weights(table.n_runs, order[:n]) for n in range(table.n_runs, 0, -1)]
    best, value = _climb(table, starts[0])
    for start in starts[1:]:
        other, its_value = _climb(table, start)
        if its_value > value + GAIN:
            best, value = other, its_value
    return best


def equal_weights(n_runs: int, chosen: Sequence[int] | NDArray[np.integer] | None = None) -> Parameters:
    """Of all runs, or of some; the others have none."""
    weight_R = np.zeros(n_runs)
    weight_R[slice(None) if chosen is None else chosen] = 1
    return Parameters(weight_R / weight_R.sum(), HALF)


def _climb(table: Table, start: Parameters) -> tuple[Parameters, float]:
    best, value = start, table.j(start)
    while True:
        before = value
        for coordinate in range(table.n_runs + 1):
            if not (tried := list(_along(best, coordinate))):
                continue  # the weight of a single run
            values = np.array([table.j(parameters) for parameters in tried])
            if values.max() > value + GAIN:
                # Votes make plateaus: the middle of one is the farthest from a step down.
                top = np.flatnonzero(values >= values.max() - GAIN)
                middle = int(top[len(top) // 2])
                best, value = tried[middle], float(values[middle])
        if value <= before:
            return best, value


def _along(parameters: Parameters, coordinate: int) -> Iterator[Parameters]:
    """With one parameter at every step of its grid: a run's weight, or last the threshold."""
    weight_R, n_runs = parameters.weight_R, len(parameters.weight_R)
    for step in range(STEPS + 1):
        if coordinate == n_runs:
            if 0 < step < STEPS:
                yield Parameters(weight_R, step / STEPS)
            continue
        others = np.delete(weight_R, coordinate)
        if not others.sum():
            others = np.ones(n_runs - 1)
        if len(others):
            share = step / STEPS
            yield Parameters(np.insert((1 - share) * others / others.sum(), coordinate, share), parameters.threshold)
