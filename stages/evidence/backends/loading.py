"""The backend that an entry of `evidence` chooses: its weights, what its replies depend on, and who answers."""

from collections.abc import Mapping
from typing import Any

from stages.core.backends import Backed
from stages.core.config.file import Config
from stages.core.run.batches import Batches
from stages.core.state.weights import Weights, find_weights
from stages.evidence.questions import Judge


def backend_weights(config: Config, dataset: str, settings: Backed) -> dict[str, Weights]:
    """role → weights of the models that run here; empty where a server runs them.

    Raises:
        ValueError: they were not fetched; names the command that does.
    """
    return {role: find_weights(config, dataset, role) for role in settings.chosen.roles}


def backend_identity(settings: Backed, weights: Mapping[str, Weights]) -> dict[str, Any]:
    """What a reply depends on beside the question: never a key of a server."""
    return identity_by_ids(settings, {role: found.id for role, found in weights.items()})


def identity_by_ids(settings: Backed, ids: Mapping[str, str]) -> dict[str, Any]:
    """The same where the ids of the weights are known, by role, and not their files."""
    return {"backend": settings.backend, "weights": dict(ids), **settings.chosen.identity(settings.own)}


def questions_per_pass(settings: Backed, questions: int) -> int:
    """How many questions are asked together.

    Args:
        questions: run.batches.questions, what one forward pass takes.
    """
    return settings.chosen.per_pass(settings.own, questions)


def load_backend(settings: Backed, weights: Mapping[str, Weights], device: str, batches: Batches) -> Judge:
    """Who answers.

    Args:
        settings: of the entry.
        weights: from `backend_weights`.
        device: "cpu" or "cuda", for models that run here.
        batches: how many questions go through a model at once.

    Raises:
        ValueError: a model does not load; the message names what is missing and the fix.
    """
    judge: Judge = settings.chosen.load(settings.own, weights, device, batches)
    return judge
