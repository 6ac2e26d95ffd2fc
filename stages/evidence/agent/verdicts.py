"""Verdicts that a model wrote as JSON: what the answer must hold, what is wrong with it, and its log-odds.

{"verdicts": [{"object": 1, "reason": "…", "verdict": "accept"}, {"object": 2, "verdict": "uncertain"}, …]}
"""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from stages.evidence.prompts import VERDICTS
from stages.evidence.questions import Written

Verdict = Literal["accept", "reject", "uncertain"]
ACCEPT, REJECT, UNCERTAIN = VERDICTS
FAULTS_SHOWN = 3
VALUE = re.compile(rf'"verdict"\s*:\s*"\s*({"|".join(VERDICTS)})\b', re.IGNORECASE)


@dataclass(frozen=True)
class Opinion:
    """What a model thinks of a candidate after a look at it.

    Attributes:
        log_odds: of accept against reject.
        reason: in its own words; "" where it gave none.
    """

    verdict: Verdict
    log_odds: float
    reason: str = ""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")

    number: int = Field(alias="object")
    verdict: Verdict
    reason: str | None = None

    @field_validator("verdict", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return value.strip().casefold() if isinstance(value, str) else value


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    verdicts: list[_Entry]


def read_verdicts(written: Written, n_objects: int, stated: float) -> dict[int, Opinion]:
    """Candidate, from 0 → what the model thinks of it, every one of them.

    Words around the JSON do no harm.

    Args:
        stated: log-odds of accept where the model gives no probabilities.

    Raises:
        ValueError: it is not the JSON that was asked for, or contradicts itself; says what is wrong, for a second try.
    """
    start, end = written.text.find("{"), written.text.rfind("}")
    if start < 0:
        raise ValueError("there is no JSON object")
    if end < start:
        raise ValueError("the JSON object does not end")
    try:
        entries = _Answer.model_validate_json(written.text[start : end + 1]).verdicts
    except ValidationError as error:
        raise ValueError(_faults(error)) from None
    _check_numbers([entry.number for entry in entries], n_objects)
    places = [match.start(1) for match in VALUE.finditer(written.text)]
    reply_at = {choice.position: choice.reply for choice in written.choices}
    known = dict(zip(range(len(entries)), places)) if len(places) == len(entries) else {}
    opinions = {}
    for index, entry in enumerate(entries):
        reply = reply_at.get(known.get(index, -1))
        log_odds = _stated(entry.verdict, stated) if reply is None else reply.log_odds
        opinions[entry.number - 1] = Opinion(entry.verdict, log_odds, (entry.reason or "").strip())
    return opinions


def of_likelihood(log_odds: float, margin: float) -> Opinion:
    """The verdict of a model that was asked yes or no."""
    if abs(log_odds) < margin or not log_odds:
        return Opinion(UNCERTAIN, log_odds)
    return Opinion(ACCEPT if log_odds > 0 else REJECT, log_odds)


def _stated(verdict: Verdict, stated: float) -> float:
    return {ACCEPT: stated, REJECT: -stated, UNCERTAIN: 0.0}[verdict]


def _check_numbers(numbers: list[int], n_objects: int) -> None:
    """Raises ValueError where not every object has one verdict."""
    known = range(1, n_objects + 1)
    if strange := [number for number in numbers if number not in known]:
        raise ValueError(f"there is no object {strange[0]}")
    if twice := [number for number, times in Counter(numbers).items() if times > 1]:
        raise ValueError(f"object {twice[0]} has more than one verdict")
    if missing := [number for number in known if number not in numbers]:
        raise ValueError(f"object {missing[0]} has no verdict")


def _faults(error: ValidationError) -> str:
    shown = error.errors(include_url=False, include_input=False)[:FAULTS_SHOWN]
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the answer'}: {each['msg']}" for each in shown)
