"""The words of the questions. The question comes last, so that servers can share what stands before it.

Every candidate is asked about twice, once so that yes speaks for it and once so that no does; half the
difference of the log-odds cancels a model's liking for either word.
"""

from collections.abc import Sequence
from typing import Literal

# Raise it with any change of the words below or of the views: replies are kept by it.
PROMPT_VERSION = 2

# What is shown stands before the question (stages/evidence/views/compose.py). The description stands at the very end, and
# every word begins with a blank: questions about one candidate differ in the description alone.
FOR_BLOCK = " does object {number} fit these words, yes or no: {text}"
AGAINST_BLOCK = " does object {number} not fit these words, yes or no: {text}"
# A description that says nothing: what a model answers to it is its liking for a word or for a candidate.
CONTENT_FREE = "something"


def ask_of_block(text: str, number: int) -> tuple[str, str]:
    """The two questions about a candidate whose block stands right before them: yes speaks for it, yes speaks against it.

    Args:
        text: the expression, or `CONTENT_FREE`.
        number: what the candidate is called in its block.
    """
    return FOR_BLOCK.format(number=number, text=text), AGAINST_BLOCK.format(number=number, text=text)


# Which of the candidates that are shown together. The answers are their numbers and `NONE`.
NONE = "none"
CHOOSE = " which object do these words describe, {numbers} or none: {text}"


def choose(text: str, numbers: Sequence[str]) -> str:
    """The question that all candidates are answers to."""
    return CHOOSE.format(numbers=" ".join(numbers), text=text)


# Whether there is anything that an expression refers to, asked of the video as a whole.
EXISTS = " is there an object that these words describe, yes or no: {text}"
ABSENT = " is there no object that these words describe, yes or no: {text}"
# A "no" must name what contradicts the description; the answers are the numbers of these, the last of which takes it back.
CONTRADICTIONS = ("looks", "motion", "place", "relation", "nothing")
AUDIT = (
    " no object was found that these words describe. what contradicts them: 1 how objects look, 2 how they move, 3 where"
    " they are, 4 how they stand to each other, or 5 nothing: {text}"
)


def ask_existence(text: str) -> tuple[str, str]:
    """The two questions about existence: yes says that there is something, yes says that there is nothing."""
    return EXISTS.format(text=text), ABSENT.format(text=text)


def ask_contradiction(text: str) -> str:
    """The question after a "no"; its answers are 1 … len(CONTRADICTIONS)."""
    return AUDIT.format(text=text)


# Verdicts on all candidates that are shown together, written as JSON; the answer is checked by
# stages/evidence/agent/verdicts.py. From the second round on the others are not shown, but counted.
VERDICTS: tuple[Literal["accept"], Literal["reject"], Literal["uncertain"]] = ("accept", "reject", "uncertain")
LABEL = (
    " label each of the objects {numbers} by the words at the end: accept = they describe it, reject = they do not,"
    " uncertain = other frames or a closer look are needed.{before} answer with JSON alone, one entry per object, in this"
    ' form: {{"verdicts": [{{"object": 1, "reason": "at most ten words", "verdict": "accept, reject or uncertain"}}]}}.'
    " the words: {text}"
)
BEFORE = " of other objects, which are not shown any more, {accepted} were accepted and {rejected} rejected."
REPAIR = " your answer was: {answer} it cannot be used: {fault}. answer again, with the JSON object alone."
REPEATED = 1000  # characters of an answer that are shown again


def ask_verdicts(text: str, n_objects: int, accepted: int = 0, rejected: int = 0) -> str:
    """The question that is answered with JSON.

    Args:
        accepted, rejected: candidates that earlier rounds have decided.
    """
    numbers = ", ".join(str(n + 1) for n in range(n_objects))
    before = BEFORE.format(accepted=accepted, rejected=rejected) if accepted or rejected else ""
    return LABEL.format(numbers=numbers, before=before, text=text)


def ask_repair(answer: str, fault: str) -> str:
    """What is said after a question whose answer cannot be used."""
    return REPAIR.format(answer=answer[:REPEATED], fault=fault)
