"""What an agent would ask at most: the first round is known, and no later one asks more than it could have."""

from collections.abc import Sequence

from stages.evidence.agent.rounds import Dialogue, looks_of, repair_of
from stages.evidence.agent.settings import AgentSettings
from stages.evidence.judging.asking import flat
from stages.evidence.judging.plan import Most, Plan
from stages.evidence.judging.showing import Showing
from stages.evidence.prompts import REPEATED
from stages.evidence.questions import Question


def plan_of(settings: AgentSettings, showing: Showing, dialogues: Sequence[Dialogue]) -> Plan:
    """The questions of the first round, and how many may follow, within the budget."""
    first, later = [], list[tuple[Question, int]]()
    for dialogue in dialogues:
        looks = looks_of(settings, showing, dialogue)
        questions = [question for look in looks for question in look.questions]
        first += [look.item.questions for look in looks]
        later += _later(
            settings, questions, len(dialogue.open) if settings.verdicts == "likelihood" else len(looks), len(looks)
        )
    budget = settings.budget
    return Plan(flat(first), later=later, most=Most(budget.questions, budget.tokens, budget.money))


def _later(
    settings: AgentSettings, questions: Sequence[Question], n_items: int, n_looks: int
) -> list[tuple[Question, int]]:
    """Questions like those that may follow, each with how often.

    Args:
        n_items: that a later round may have: candidates that the first does not show may be shown then.
    """
    again = settings.rounds - 1
    like = [(question, again) for question in questions]
    if questions and n_items > n_looks:
        like.append((questions[0], again * (n_items - n_looks) * len(questions) // n_looks))
    if settings.verdicts == "json":
        longest = " " * REPEATED
        like += [(repair_of(question, longest, longest[: REPEATED // 10]), settings.rounds) for question in questions]
    return [(question, times) for question, times in like if times]
