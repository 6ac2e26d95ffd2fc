"""Rules: which of a sentence's objects are probable enough. The list behind the table RULES; one line adds one.

A rule sees objects, near-duplicate tracks being one. Its parameters are probabilities, or shares of one; where the
config says auto, a fitted fusion finds the values of best quality among those that the rule names.

Legend: G objects (groups of near-duplicate tracks) of a sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.core.config.section import Section, Threshold, Unit
from stages.core.tables import Rule


@dataclass(frozen=True, eq=False)
class Objects:
    """What a rule decides by.

    Attributes:
        probability_G: that the sentence refers to the object.
        ious_GG: what the objects share as tubes; the identity where that is not known.
        number: of objects that the sentence asks for; None = unknown.
    """

    probability_G: NDArray[np.float64]
    ious_GG: NDArray[np.float32]
    number: int | None

    @property
    def order(self) -> list[int]:
        """Indices, the most probable first; ties go to the first."""
        return np.argsort(-self.probability_G, kind="stable").tolist()


Chosen = NDArray[np.bool_]
Parameters = Mapping[str, float]


# ---------------------------------------------------------------- threshold


class ThresholdSettings(Section):
    low: Threshold = Field(description="Everything above this probability is chosen; auto = as fitted or calibrated")


def above(objects: Objects, parameters: Parameters) -> Chosen:
    """Every object that is probable enough by itself."""
    return objects.probability_G > parameters["low"]


# ---------------------------------------------------------------- relative


class RelativeSettings(ThresholdSettings):
    low: Threshold = Field(
        description="The best object is chosen above this probability; auto = as fitted or calibrated"
    )
    high: Threshold = Field(description="Other objects are chosen above this one; auto = as fitted")
    ratio: Threshold = Field(
        description="and only with at least this share of the best's probability; auto = as fitted"
    )


def beside_the_best(objects: Objects, parameters: Parameters) -> Chosen:
    """The best object, and others that are about as probable: most wrong answers are the right object and another."""
    probability_G = objects.probability_G
    best = probability_G.max(initial=0.0)
    if not best > parameters["low"]:
        return np.zeros(len(probability_G), bool)
    chosen_G = (probability_G > parameters["high"]) & (probability_G >= parameters["ratio"] * best)
    chosen_G[probability_G.argmax()] = True
    return chosen_G


# ---------------------------------------------------------------- number


class NumberSettings(RelativeSettings):
    distinct_iou: Unit = Field(description="Two objects that share more than this as tubes are not counted as two")


def as_many_as_asked(objects: Objects, parameters: Parameters) -> Chosen:
    """The best k objects above `low` where the sentence asks for k, never more; as `relative` where k is unknown."""
    if objects.number is None:
        return beside_the_best(objects, parameters)
    chosen: list[int] = []
    for g in objects.order:
        if len(chosen) == objects.number or not objects.probability_G[g] > parameters["low"]:
            break
        if (objects.ious_GG[g, chosen] <= parameters["distinct_iou"]).all():
            chosen.append(g)
    chosen_G = np.zeros(len(objects.probability_G), bool)
    chosen_G[chosen] = True
    return chosen_G


LOWS = tuple(round(0.04 + 0.02 * step, 2) for step in range(46))
HIGHS = tuple(round(0.2 + 0.1 * step, 1) for step in range(8))
RATIOS = (0.0, 0.25, 0.5, 0.65, 0.8, 0.9)
BESIDE = {"low": LOWS, "high": HIGHS, "ratio": RATIOS}

LISTED: tuple[Rule, ...] = (
    Rule("threshold", ThresholdSettings, grid={"low": LOWS}, choose=above),
    Rule("relative", RelativeSettings, grid=BESIDE, choose=beside_the_best),
    Rule("number", NumberSettings, grid=BESIDE, choose=as_many_as_asked),
)
