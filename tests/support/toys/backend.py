"""A backend: a coin, tossed by the words of the question."""

from collections.abc import Sequence

from stages.core.backends import Backend
from stages.core.config.section import Section
from stages.core.digests import digest
from stages.evidence.questions import Question, Reply


class CoinSettings(Section):
    """It has none of its own."""


class Coin:
    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        return [self._toss(question) for question in questions]

    def _toss(self, question: Question) -> Reply:
        first = int(digest(question.asked[-1]), 16) % len(question.options)
        return Reply(tuple(-0.1 if i == first else -3.0 for i in range(len(question.options))), 0.9)


BACKEND = Backend(
    name="coin",
    settings=CoinSettings,
    roles=(),
    identity=lambda settings: {"coin": 1},
    per_pass=lambda settings, questions: questions,
    load=lambda settings, weights, device, batches: Coin(),
)
