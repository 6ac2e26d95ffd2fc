"""Who answers an agent's questions: a model within a budget, or what was answered before."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from stages.evidence.agent.budget import Purse
from stages.evidence.asked import Asked, Patience, key_of
from stages.evidence.questions import Question, Said, Writer


class Voice(Protocol):
    """Answers questions that it has admitted."""

    def key(self, question: Question) -> str: ...

    def admit(self, questions: Sequence[Question]) -> str:
        """Why some questions are not asked; "" where they are."""
        ...

    def ask(self, questions: Sequence[Question]) -> Mapping[str, Said]:
        """Key → what was said; a question without an answer is not there."""
        ...

    def why(self, question: Question) -> str:
        """Why a question has no answer."""
        ...


class Live:
    """A model."""

    def __init__(self, asked: Asked, model: Writer, purse: Purse, patience: Patience) -> None:
        self.asked, self.model, self.purse, self.patience = asked, model, purse, patience

    def key(self, question: Question) -> str:
        return self.asked.key(question)

    def admit(self, questions: Sequence[Question]) -> str:
        return "" if self.purse.pay({self.key(question): question for question in questions}) else self.purse.spent

    def ask(self, questions: Sequence[Question]) -> Mapping[str, Said]:
        return self.asked.ask_patiently(self.model, questions, self.patience)

    def why(self, question: Question) -> str:
        if (own := self.patience.refused.get(self.key(question))) is not None:
            return f"no answer: {own}"
        [first, *_] = self.patience.refused.values()
        return (
            f"budget.unanswered, {self.patience.most} per video, allows no more questions; the first that had no answer: "
            f"{first}"
        )


class Replay:
    """What was answered before, for whoever wants to see the questions again.

    Args:
        known: the answers by key.
        who: what an answer depends on beside its question.

    Attributes:
        questions: key → question, of those whose answers are known.
    """

    def __init__(self, known: Mapping[str, Said], who: Mapping[str, Any]) -> None:
        self.known, self.who = known, who
        self.questions: dict[str, Question] = {}

    def key(self, question: Question) -> str:
        return key_of(question, self.who)

    def admit(self, questions: Sequence[Question]) -> str:
        return ""

    def ask(self, questions: Sequence[Question]) -> Mapping[str, Said]:
        keyed = {self.key(question): question for question in questions}
        self.questions |= {key: question for key, question in keyed.items() if key in self.known}
        return {key: self.known[key] for key in keyed if key in self.known}

    def why(self, question: Question) -> str:
        return "not known"
