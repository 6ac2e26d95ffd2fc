"""The fusion that the config gives: S = score + Σ w · evidence + Σ w · existence."""

from collections.abc import Mapping

from stages.core.config.sections import Rerank
from stages.core.tables import RULES
from stages.evidence.fusion.calibrate import AUTO
from stages.evidence.fusion.decide import Fusion
from stages.evidence.fusion.features import EVIDENCE, EXISTENCE, SCORE

LOW = "low"  # the parameter of every rule that a selector's own threshold can serve for


def fixed_fusion(rerank: Rerank, threshold: float) -> Fusion:
    """The fusion of the config's weights; only the evidence in `rerank.evidence` counts.

    Args:
        threshold: serves where the rule's `low` is auto.

    Raises:
        ValueError: another parameter of the rule is auto, which needs a fitted fusion.
    """
    names = sorted(rerank.evidence)
    weights = {SCORE: 1.0}
    weights |= {EVIDENCE + name: rerank.weights[name] for name in names if name in rerank.weights}
    weights |= {EXISTENCE + name: rerank.existence_weights[name] for name in names if name in rerank.existence_weights}
    return Fusion(0.0, weights, rerank.same_iou, rerank.rule.kind, _parameters(rerank, threshold))


def rule_settings(rerank: Rerank) -> dict[str, float | str]:
    """The section of the chosen rule: numbers, and "auto"."""
    settings: Mapping[str, float | str] = rerank.rule.own.model_dump()
    return dict(settings)


def _parameters(rerank: Rerank, threshold: float) -> dict[str, float]:
    settings = rule_settings(rerank)
    if settings.get(LOW) == AUTO:
        settings[LOW] = threshold
    grid = RULES[rerank.rule.kind].grid
    if unknown := [key for key in grid if settings[key] == AUTO]:
        raise ValueError(
            f"rerank.rule.{rerank.rule.kind}: {', '.join(unknown)} = auto is found by a fitted fusion; give numbers, or "
            "set rerank.fusion: fitted"
        )
    return {key: float(value) for key, value in settings.items()}
