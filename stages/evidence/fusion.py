"""How evidence becomes a decision: S_n = score_n + Σ_k w_k · e_kn, and what is probable enough is chosen.

The weights w_k are the config's (`rerank.weights`). A fusion fitted on labelled tracks has its place here: a bias, a
weight for the score, one for each evidence that is missing, and one for the existence log-odds of an expression.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from stages.core.records import TrackId
from stages.core.state.choices import Candidate

# Name of evidence → track → log-odds that the expression refers to it.
Known = Mapping[str, Mapping[TrackId, float]]


def decide(
    candidates: Sequence[Candidate], known: Known, weights: Mapping[str, float], threshold: float
) -> list[Candidate]:
    """The candidates of one expression with `evidence`, `final` and `chosen` filled in.

    All tracks with σ(S_n) above the threshold are chosen; where there is none, nothing is (no target).

    Args:
        known: evidence about the tracks; what is missing contributes 0.
        weights: of the same names.
    """
    from scipy.special import expit  # late: `--help` need not wait for scipy

    decided = []
    for candidate in candidates:
        evidence = {name: tracks[candidate.id] for name, tracks in known.items() if candidate.id in tracks}
        final = fuse(candidate.score, evidence, weights)
        decided.append(replace(candidate, evidence=evidence, final=final, chosen=bool(expit(final) > threshold)))
    return decided


def fuse(score: float, evidence: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """S of one track; the terms are added in the order of the names."""
    for name in sorted(evidence):
        score += weights[name] * evidence[name]
    return score
