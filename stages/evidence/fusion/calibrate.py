"""Finds the parameters of a rule at which answers are best.

Legend: N tracks of a sentence.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.tables import RULES
from stages.evidence.fusion.decide import Fusion, groups_of, objects_of, pool, weigh
from stages.evidence.fusion.table import Sentence

# (index of a sentence, (N,) chosen tracks) → how good that answer is, 0 to 1.
Quality = Callable[[int, NDArray[np.bool_]], float]
AUTO = "auto"
ROUNDS = 5
EQUAL = 1e-9  # means that differ by less are the same, summed in another order


def calibrate(
    fusion: Fusion, settings: Mapping[str, float | str], sentences: Sequence[Sentence], quality: Quality
) -> tuple[dict[str, float], float]:
    """The parameters of best mean quality, and that.

    What the settings leave to be found is searched in turns, the rule's first parameter, then all others together,
    until nothing improves. Of equally good values in a row the middle one is taken: the next split is not the same.

    Args:
        fusion: its parameters are not looked at.
        settings: of its rule; "auto" is found, numbers stay.
    """
    answers = _Answers(fusion, sentences, quality)
    grid = RULES[fusion.rule].grid
    found = [key for key in grid if settings[key] == AUTO]
    parameters = {
        key: float(grid[key][len(grid[key]) // 2] if value == AUTO else value) for key, value in settings.items()
    }
    best = answers.mean(parameters)
    for _ in range(ROUNDS if found else 0):
        before = best
        for keys in (found[:1], found[1:]):
            options = [dict(zip(keys, values, strict=True)) for values in product(*(grid[key] for key in keys))]
            parameters, best = _best(answers, parameters, options)
        if best <= before + EQUAL:
            break
    return parameters, best


def _best(
    answers: "_Answers", parameters: Mapping[str, float], options: Iterable[Mapping[str, float]]
) -> tuple[dict[str, float], float]:
    tried = [{**parameters, **option} for option in options]
    means = np.array([answers.mean(one) for one in tried])
    equal = np.flatnonzero(means >= means.max() - EQUAL)
    return tried[int(equal[len(equal) // 2])], float(means.max())


class _Answers:
    """The mean quality of a fusion's answers by the parameters of its rule; every distinct answer is judged once."""

    def __init__(self, fusion: Fusion, sentences: Sequence[Sentence], quality: Quality) -> None:
        self.choose, self.quality = RULES[fusion.rule].choose, quality
        self.groups = [groups_of(sentence, fusion.same_iou) for sentence in sentences]
        finals = [
            pool(weigh(fusion, sentence), groups) for sentence, groups in zip(sentences, self.groups, strict=True)
        ]
        self.objects: list[Any] = [
            objects_of(sentence, final_N, groups_N, fusion.same_iou)
            for sentence, final_N, groups_N in zip(sentences, finals, self.groups, strict=True)
        ]
        self.judged: list[dict[bytes, float]] = [{} for _ in sentences]

    def mean(self, parameters: Mapping[str, float]) -> float:
        """0 where there is no sentence."""
        total = sum(self._quality(i, parameters) for i in range(len(self.objects)))
        return total / max(len(self.objects), 1)

    def _quality(self, index: int, parameters: Mapping[str, float]) -> float:
        chosen_G = self.choose(self.objects[index], parameters)
        key, judged = chosen_G.tobytes(), self.judged[index]
        if key not in judged:
            judged[key] = self.quality(index, chosen_G[self.groups[index]])
        return judged[key]
