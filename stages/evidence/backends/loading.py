"""Loads the backend that an entry of `evidence` names."""

from typing import Any

from stages.core.run.batches import Batches
from stages.core.state.weights import Weights
from stages.evidence.questions import Judge


def load_backend(settings: Any, weights: Weights, device: str, batches: Batches) -> Judge:
    """Who answers the questions of an entry of `evidence`.

    Args:
        settings: of the entry.
        weights: of the model, where it runs here.
        device: "cpu" or "cuda".
        batches: how many questions are answered at once.

    Raises:
        ValueError: the model cannot be had; the message says why and names the fix.
    """
    from stages.evidence.backends.transformers import load_judge

    return load_judge(weights.path, device, settings.precision, batches)
