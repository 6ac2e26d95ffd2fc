"""A server's answer as a reply: what its JSON must hold, and how tokens and words are taken for options."""

import math
import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.evidence.backends.chat import spellings
from stages.evidence.questions import Reply

IMPOSSIBLE = -1000.0  # some servers give -9999 to what they have ruled out
LEAST = 1e-6  # probability that a rounded list may leave over
PARSED = 0.9  # probability of an option that was answered in words: a constant, since none was given


class _Json(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class TopToken(_Json):
    """One of the most probable first tokens."""

    token: str
    logprob: float = Field(le=1e-3)


class _Token(_Json):
    token: str = ""
    top_logprobs: list[TopToken] | None = None


class _Logprobs(_Json):
    content: list[_Token] | None = None


class _Message(_Json):
    content: str | None = None


class _Choice(_Json):
    message: _Message
    logprobs: _Logprobs | None = None


class Completion(_Json):
    """A chat completion of one choice."""

    choices: list[_Choice] = Field(min_length=1, max_length=1)

    @classmethod
    def read(cls, text: str) -> "Completion":
        """Raises ValueError saying what is wrong where `text` is none."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors(include_input=False)
            ]
            raise ValueError("; ".join(faults[:3])) from None

    @property
    def words(self) -> str:
        return self.choices[0].message.content or ""

    @property
    def tokens(self) -> list[str]:
        """Of the answer; [] where the server gives none."""
        return [each.token for each in self._listed]

    @property
    def top(self) -> list[TopToken]:
        """The most probable first tokens; [] where the server gives none."""
        return self.top_at(0)

    def top_at(self, index: int) -> list[TopToken]:
        """The most probable tokens in the place of one; [] where the server gives none."""
        return (self._listed[index].top_logprobs or []) if index < len(self._listed) else []

    @property
    def _listed(self) -> list[_Token]:
        logprobs = self.choices[0].logprobs
        return (logprobs.content or []) if logprobs else []


def weighed(top: Sequence[TopToken], options: Sequence[str]) -> Reply:
    """The options' scores from the most probable tokens.

    An option that is not among them is less probable than the least of them, and than what they leave over: that
    bound is its score.
    """
    listed = {(token.token, token.logprob) for token in top if token.logprob > IMPOSSIBLE}
    left = 1 - sum(math.exp(logprob) for _, logprob in listed)
    lowest = min((logprob for _, logprob in listed), default=0.0)
    bound = min(lowest, math.log(max(left, LEAST)))
    scores, bounded, mass = [], [], 0.0
    for index, option in enumerate(options):
        spelled = set(spellings(option))
        chance = sum(math.exp(logprob) for token, logprob in listed if readable(token) in spelled)
        mass += chance
        scores.append(math.log(chance) if chance else bound)
        if not chance:
            bounded.append(index)
    return Reply(tuple(scores), min(mass, 1.0), "logprobs", tuple(bounded))


def readable(token: str) -> str:
    """A token's text, where a server gives the vocabulary's own marks for a blank."""
    return token.replace("Ġ", " ").replace("▁", " ")


def parsed(words: str, options: Sequence[str]) -> Reply:
    """The options' scores from an answer in words: the option that it begins with, whatever stands around it."""
    first = re.sub(r"^\W+", "", words).casefold()
    for index, option in enumerate(options):
        if re.match(rf"{re.escape(option.casefold())}(?!\w)", first):
            others = math.log((1 - PARSED) / (len(options) - 1))
            scores = tuple(math.log(PARSED) if i == index else others for i in range(len(options)))
            return Reply(scores, 1.0, "parsed")
    return Reply((-math.log(len(options)),) * len(options), 0.0, "parsed")
