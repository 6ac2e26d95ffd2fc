"""Questions about candidates, and the log-odds that the answers give.

Each question is of one *way*. Of yes-or-no questions: "for" (yes speaks for the candidate) and "against"; of choices:
"choice". The ways "free_…" ask the same of a description that says nothing: what is replied to them is the model's
liking for a word, a number or a candidate, and is subtracted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.evidence.asked import Answer, Asked
from stages.evidence.judging.settings import AskingSettings
from stages.evidence.judging.showing import Shown
from stages.evidence.prompts import CONTENT_FREE, NONE, ask_of_block, choose
from stages.evidence.questions import Judge, Parts, Question, Reply

FOR, AGAINST, CHOICE, FREE = "for", "against", "choice", "free_"

# Way → question, or its answer.
Questions = Mapping[str, Question]
Answers = Mapping[str, Answer]


@dataclass(frozen=True, eq=False)
class Item:
    """Questions that together say something of one candidate, or of all that are shown together.

    Attributes:
        n: the candidate; None = all of them.
    """

    shown: Shown
    n: int | None
    questions: Questions


def about_each(shown: Shown, text: str, settings: AskingSettings) -> list[Item]:
    """An item per candidate that asks for yes or no."""
    items = []
    for n in range(len(shown.candidates)):
        own = shown.composition.about(n)
        pair = polar(shown, own, ask_of_block(text, n + 1), settings)
        free = polar(shown, own, ask_of_block(CONTENT_FREE, n + 1), settings) if settings.calibrate else {}
        items.append(Item(shown, n, with_free(pair, free)))
    return items


def which_of(shown: Shown, text: str, settings: AskingSettings) -> list[Item]:
    """One item that asks for a number, or none."""
    numbers = tuple(str(n + 1) for n in range(len(shown.candidates)))

    def ask(words: str) -> Questions:
        return {CHOICE: Question(shown.composition.context, (choose(words, numbers),), (*numbers, NONE))}

    return [Item(shown, None, with_free(ask(text), ask(CONTENT_FREE) if settings.calibrate else {}))]


def polar(shown: Shown, own: Parts, pair: tuple[str, str], settings: AskingSettings) -> dict[str, Question]:
    """The two questions of a pair, yes for and yes against; with one polarity the first alone."""
    ways = (FOR, AGAINST) if settings.both_polarities else (FOR,)
    return {way: Question(shown.composition.context, (*own, words)) for way, words in zip(ways, pair)}


def with_free(questions: Questions, free: Questions) -> dict[str, Question]:
    return {**questions, **{FREE + way: question for way, question in free.items()}}


def ask_all(asked: Asked, judge: Judge, questions: Sequence[Questions]) -> list[dict[str, Answer]]:
    """The answers to several sets of questions."""
    ordered = flat(questions)
    answers = dict(zip(map(id, ordered), asked.ask(judge, ordered), strict=True))
    return [{way: answers[id(question)] for way, question in each.items()} for each in questions]


def flat(questions: Sequence[Questions]) -> list[Question]:
    """All questions, those that begin alike side by side: with one context, and behind it with the same candidate's block.

    Contexts, and blocks, come in the order of their first questions.
    """
    alike: dict[int, dict[tuple[int, ...], list[Question]]] = {}
    for question in (question for each in questions for question in each.values()):
        of_context = alike.setdefault(id(question.context), {})
        of_context.setdefault(tuple(map(id, question.asked[:-1])), []).append(question)
    return [question for of_context in alike.values() for group in of_context.values() for question in group]


def yes_log_odds(answers: Answers) -> float:
    """Log-odds of yes; averaged over polarities, less those of the description that says nothing."""
    free = {way.removeprefix(FREE): answer for way, answer in answers.items() if way.startswith(FREE)}
    return _polarised(answers) - (_polarised(free) if free else 0.0)


def _polarised(answers: Answers) -> float:
    if AGAINST not in answers:
        return answers[FOR].reply.log_odds
    return (answers[FOR].reply.log_odds - answers[AGAINST].reply.log_odds) / 2


def calibrated(answers: Answers, way: str) -> Reply:
    """The reply to a choice; less the scores of the one that says nothing."""
    reply = answers[way].reply
    if FREE + way not in answers:
        return reply
    free = answers[FREE + way].reply
    scores = tuple(score - empty for score, empty in zip(reply.scores, free.scores, strict=True))
    return Reply(scores, reply.mass, reply.kind, reply.bounded)


def logsumexp(values: Sequence[float]) -> float:
    highest = max(values)
    return highest + math.log(sum(math.exp(value - highest) for value in values))


def pooled(values: Sequence[float]) -> float:
    """Log-odds of several clips as one: logsumexp, less the logarithm of how many there are, so that a candidate does not
    gain from being seen in more clips."""
    return logsumexp(values) - math.log(len(values))
