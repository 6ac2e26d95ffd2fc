"""Who is asked: a model that is loaded when the first question comes, and what its replies depend on."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from stages.core.backends import Backed
from stages.core.run.batches import Batches
from stages.core.run.cli import Job
from stages.core.state.weights import Weights
from stages.evidence.backends.loading import backend_identity, backend_weights, load_backend, questions_per_pass
from stages.evidence.prompts import PROMPT_VERSION
from stages.evidence.questions import Judge, Question, Reply, Writer, Written


class Model:
    """Implements `stages.evidence.questions.Writer`; where every reply is known it never loads.

    Attributes:
        identity: what a reply depends on beside the question.
        per_pass: questions that are asked together.
    """

    def __init__(self, job: Job, settings: Backed, device: str) -> None:
        self.settings, self.device = settings, device
        self.weights = backend_weights(job.config, job.dataset, settings)
        self.batches = Batches(job.settings.run.batches.questions, "questions")
        job.batches["questions"] = self.batches
        self.identity = identity(settings, self.weights)
        self.per_pass = questions_per_pass(settings, job.settings.run.batches.questions)
        self.judge: Judge | None = None

    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        return self._loaded().answer(questions)

    def write(self, questions: Sequence[Question]) -> list[Written]:
        """Where the backend says that it `writes`."""
        return cast(Writer, self._loaded()).write(questions)

    def _loaded(self) -> Judge:
        if self.judge is None:
            self.judge = load_backend(self.settings, self.weights, self.device, self.batches)
        return self.judge


def identity(settings: Backed, weights: Mapping[str, Weights]) -> dict[str, Any]:
    """What a reply depends on beside the question."""
    return {**backend_identity(settings, weights), **how_asked()}


def how_asked() -> Mapping[str, Any]:
    """What evidence depends on beside what is in its settings."""
    return {"prompt_version": PROMPT_VERSION}
