"""What an MLLM is asked and what it answers: the protocol that every backend implements."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

YES_NO = ("yes", "no")


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that a model is shown.

    Attributes:
        pixels_HW3: RGB uint8; not to be changed.
    """

    pixels_HW3: NDArray[np.uint8]

    @cached_property
    def digest(self) -> str:
        """16 hex digits over shape and pixels, computed once however many questions show the picture."""
        shape = str(self.pixels_HW3.shape).encode()
        return hashlib.sha256(shape + np.ascontiguousarray(self.pixels_HW3).tobytes()).hexdigest()[:16]


# Pictures and words, in the order in which a model reads them.
Part = Picture | str
Parts = tuple[Part, ...]


@dataclass(frozen=True, eq=False)
class Question:
    """A question that is answered with one word out of a few.

    Attributes:
        context: what several questions share, word for word and picture for picture; a backend encodes it once for
            all of them. It may be empty.
        asked: what is the question's own, after the context; it ends with words.
        options: the answers that are weighed against each other.
        answer_tokens: most tokens of an answer that is written out (`Writer`); 0 = one word out of the options.
    """

    context: Parts
    asked: Parts
    options: tuple[str, ...] = YES_NO
    answer_tokens: int = 0

    @property
    def parts(self) -> Parts:
        return self.context + self.asked

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(part for part in self.parts if isinstance(part, Picture))


@dataclass(frozen=True)
class Reply:
    """An answer as numbers.

    Attributes:
        scores: natural logarithm of each option's probability, all spellings of it together, in the order of the options.
        mass: probability that the answer begins with any of the options; low = off format.
        kind: "logprobs" where the scores are the model's own; "parsed" where its answer came as text alone, and
            the scores only say which option it was.
        bounded: options that the server did not list among its most probable tokens: their scores are upper bounds.
    """

    scores: tuple[float, ...]
    mass: float
    kind: Literal["logprobs", "parsed"] = "logprobs"
    bounded: tuple[int, ...] = field(default=())

    @property
    def log_odds(self) -> float:
        """Of the first option against the second: yes against no."""
        return self.scores[0] - self.scores[1]

    def odds_of(self, option: int) -> float:
        """Log-odds of an option against all the others."""
        others = [score for i, score in enumerate(self.scores) if i != option]
        highest = max(others)
        return self.scores[option] - highest - math.log(sum(math.exp(score - highest) for score in others))

    @property
    def is_finite(self) -> bool:
        return all(map(math.isfinite, (*self.scores, self.mass)))


@dataclass(frozen=True)
class Choice:
    """A place in a written answer where one of the options stands.

    Attributes:
        position: index of the option's first character.
        reply: how probable each option was there.
    """

    position: int
    reply: Reply


@dataclass(frozen=True)
class Written:
    """An answer in words.

    Attributes:
        text: all of it.
        choices: in order of their positions; () where the model gives no probabilities.
    """

    text: str
    choices: tuple[Choice, ...] = ()

    @property
    def is_finite(self) -> bool:
        return all(choice.reply.is_finite for choice in self.choices)


# What comes back to a question.
Said = Reply | Written


class PartlyAnswered(ValueError):
    """Some questions failed for good, after others had been answered.

    Attributes:
        replies: index of a question → what was said; they need not be asked for again.
        refused: index of a question → why it has no answer, where that is the question's own matter: no answer in time, an
            error that it met alone, a refusal. Others may still be answered.
    """

    def __init__(self, reason: str, replies: Mapping[int, Said], refused: Mapping[int, str] | None = None) -> None:
        super().__init__(reason)
        self.replies, self.refused = replies, dict(refused or {})


class Unanswered(ValueError):
    """A question has no answer for good, and others may."""


class Judge(Protocol):
    """A model that answers questions; the same question gives the same reply."""

    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        """One reply per question, in their order. Neighbours with the same `context` object share its encoding.

        Raises:
            ValueError: the model's answer is not finite, or there is none; PartlyAnswered where there are others.
        """
        ...


class Writer(Judge, Protocol):
    """A judge that can also answer in words."""

    def write(self, questions: Sequence[Question]) -> list[Written]:
        """One answer of at most `answer_tokens` tokens per question, in their order, the most probable word by word.

        Raises:
            ValueError: as `answer`.
        """
        ...
