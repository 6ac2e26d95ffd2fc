"""How much existence should weigh: a decision's figures while the weights of its existence columns are multiplied.

The more it weighs, the more sentences without a target are answered with nothing (N-acc), and the more with one, where the
model is wrong (T-acc). Everything else of the fusion stays as it is, bias and rule too: a fitted fusion has its own figures
at a factor of 1, and at 0 not those of one that was fitted without existence.
"""

from dataclasses import replace

from stages.evidence.fusion.decide import Fusion
from stages.evidence.fusion.features import EXISTENCE

FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)


def looks_at_existence(fusion: Fusion) -> bool:
    """Whether a fusion gives existence any weight."""
    return any(name.startswith(EXISTENCE) and weight for name, weight in fusion.weights.items())


def reweighed(fusion: Fusion, factor: float) -> Fusion:
    """The fusion with the weights of its existence columns multiplied."""
    weights = {name: weight * (factor if name.startswith(EXISTENCE) else 1) for name, weight in fusion.weights.items()}
    return replace(fusion, weights=weights)
