"""What a fitted fusion's rule is searched for: the mean J&F of its answers, or Final.

Legend: N tracks of a sentence.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.evidence.fusion.calibrate import Quality

# (index of a sentence, (N,) chosen tracks) → the row that evaluation writes of that answer.
Outcome = Callable[[int, NDArray[np.bool_]], Mapping[str, Any]]
FIGURES = {"j_and_f": "J&F", "final": "Final"}  # rerank.objective → the figure that its mean is


def quality_of(objective: str, outcome: Outcome, refers: Sequence[bool]) -> Quality:
    """A quality whose mean over the sentences is the figure, so that one search serves for both.

    Final is the mean of J&F, of the share of right answers to sentences that refer to nothing (N-acc), and of that to the
    others (T-acc); a share of no sentences is left out.

    Args:
        objective: one of FIGURES.
        refers: whether each sentence refers to something.
    """

    def j_and_f(index: int, chosen_N: NDArray[np.bool_]) -> float:
        return float(outcome(index, chosen_N)["J&F"])

    def final(index: int, chosen_N: NDArray[np.bool_]) -> float:
        row = outcome(index, chosen_N)
        right = row["predicted_empty"] != refers[index]
        return (float(row["J&F"]) + right * weight_of[refers[index]]) / (1 + len(weight_of))

    weight_of = {kind: len(refers) / refers.count(kind) for kind in (True, False) if kind in refers}
    assert objective in FIGURES, objective
    return j_and_f if objective == "j_and_f" else final
