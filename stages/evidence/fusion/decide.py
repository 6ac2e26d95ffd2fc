"""From a sentence to its answer: weights, near-duplicates counted once, and the rule.

Legend: N tracks of a sentence, G objects (groups of near-duplicate tracks).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.core.tables import RULES
from stages.evidence.fusion.features import column
from stages.evidence.fusion.table import Sentence, Values

if TYPE_CHECKING:
    from stages.evidence.fusion.rules import Objects


@dataclass(frozen=True)
class Fusion:
    """How scores and evidence become a decision.

    Attributes:
        bias, weights: column (features.py) → its weight; a column without one is not looked at.
        same_iou: tracks that share more than this as tubes are one object; None = every track is an object.
        rule: its name.
        parameters: of the rule, all of them numbers.
    """

    bias: float
    weights: Mapping[str, float]
    same_iou: float | None
    rule: str
    parameters: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """As fusion.json, decisions and comparisons write it."""
        rule = {"kind": self.rule, **self.parameters}
        return {"bias": self.bias, "weights": dict(self.weights), "same_iou": self.same_iou, "rule": rule}


@dataclass(frozen=True, eq=False)
class Decision:
    """An answer, and what it was made by: log-odds (N,) of each track, and which of them are chosen."""

    final_N: Values
    chosen_N: NDArray[np.bool_]


def decide(fusion: Fusion, sentence: Sentence) -> Decision:
    """The answer to one sentence; possibly none of its tracks (no target)."""
    groups_N = groups_of(sentence, fusion.same_iou)
    final_N = pool(weigh(fusion, sentence), groups_N)
    chosen_N = choose(fusion, objects_of(sentence, final_N, groups_N, fusion.same_iou), groups_N)
    return Decision(final_N, chosen_N if sentence.asked else np.zeros(len(sentence), bool))


def weigh(fusion: Fusion, sentence: Sentence) -> Values:
    """(N,) S of every track by itself; terms are added in the order of the weights."""
    final_N = np.full(len(sentence), fusion.bias)
    for name, weight in fusion.weights.items():
        final_N = final_N + weight * column(sentence, name)
    return final_N


def groups_of(sentence: Sentence, same_iou: float | None) -> NDArray[np.int64]:
    """(N,) the object that each track shows, from 0."""
    if same_iou is None:
        return np.arange(len(sentence))
    from stages.tracking.overlap import group_duplicates

    assert sentence.ious_NN is not None, "near-duplicates are found by what tracks share"
    return group_duplicates(sentence.ious_NN, same_iou)


def pool(final_N: Values, groups_N: NDArray[np.int64]) -> Values:
    """(N,) the mean of S over each track's near-duplicates: tracks of one object are judged as one."""
    if len(groups_N) == len(np.unique(groups_N)):
        return final_N
    means_G: Values = np.bincount(groups_N, final_N) / np.bincount(groups_N)
    return means_G[groups_N]


def objects_of(sentence: Sentence, final_N: Values, groups_N: NDArray[np.int64], same_iou: float | None) -> "Objects":
    """What the rule sees; `final_N` is the same for all tracks of an object."""
    from scipy.special import expit  # late: `--help` need not wait for scipy

    from stages.evidence.fusion.rules import Objects
    from stages.tracking.overlap import representatives

    if sentence.ious_NN is None or same_iou is None:
        first_G = np.unique(groups_N, return_index=True)[1]
    else:
        first_G = representatives(sentence.ious_NN, groups_N, same_iou)
    shared = np.eye(len(sentence), dtype=np.float32) if sentence.ious_NN is None else sentence.ious_NN
    return Objects(expit(final_N[first_G]), shared[np.ix_(first_G, first_G)], sentence.number)


def choose(fusion: Fusion, objects: "Objects", groups_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) the tracks of the objects that the rule chooses."""
    chosen_G = RULES[fusion.rule].choose(objects, fusion.parameters)
    chosen_N: NDArray[np.bool_] = np.asarray(chosen_G, bool)[groups_N]
    return chosen_N
