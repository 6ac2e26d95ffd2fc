"""What the questions about a video take, and whether that is within the budget. All is counted before it is asked, so that a
resumed job stops at the same question as an uninterrupted one."""

from collections.abc import Mapping

from stages.evidence.agent.settings import Budget
from stages.evidence.judging.tokens import Counter
from stages.evidence.questions import Question

MILLION = 1_000_000


def tokens_of(question: Question, counter: Counter) -> tuple[int, int]:
    """Tokens of a question, and of its answer at its longest."""
    return counter.count(question.parts), max(question.answer_tokens, 1)


class Purse:
    """Pays for the questions about one video; what is asked once more is paid once.

    Args:
        counter: counts tokens, where the budget names tokens or money; None = it does not.
        prices: per million tokens of questions and of answers, where it names money.

    Attributes:
        spent: why nothing more is asked; "" = something may be.
    """

    def __init__(self, budget: Budget, counter: Counter | None, prices: tuple[float, float] | None) -> None:
        self.budget, self.counter, self.prices = budget, counter, prices
        self.paid: set[str] = set()
        self.tokens, self.money, self.spent = 0, 0.0, ""

    def pay(self, questions: Mapping[str, Question]) -> bool:
        """Whether all of some questions, by their keys, may be asked; if not, none after them may."""
        if self.spent:
            return False
        fresh = {key: question for key, question in questions.items() if key not in self.paid}
        tokens, money = self._cost_of(fresh)
        taken = len(self.paid) + len(fresh), self.tokens + tokens, self.money + money
        limits = (self.budget.questions, self.budget.tokens, self.budget.money)
        for what, limit, value in zip(("questions", "tokens", "money"), limits, taken, strict=True):
            if limit is not None and value > limit:
                self.spent = f"budget.{what}, {limit:g} per video, allows no more questions"
                return False
        self.paid |= fresh.keys()
        self.tokens, self.money = taken[1:]
        return True

    def _cost_of(self, questions: Mapping[str, Question]) -> tuple[int, float]:
        if self.counter is None:
            return 0, 0.0
        tokens, money, prices = 0, 0.0, self.prices or (0.0, 0.0)
        for question in questions.values():
            asked, answered = tokens_of(question, self.counter)
            tokens += asked + answered
            money += (asked * prices[0] + answered * prices[1]) / MILLION
        return tokens, money
