"""The replies of a model to one video's questions, kept while its evidence file is written, so that nothing is asked twice.

.<video>.asked.json beside the evidence file: {"replies": [{"key": …, "log_odds": …, "mass": …}, …]} and the stamp of the
file that is being made. A key is the digest of everything that a reply depends on, so replies may also come from another
file: what an older evidence file says of its numbers serves as well.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.core.digests import digest
from stages.core.state.cache import CacheError, Stamp, read_json, write_json
from stages.core.state.evidence_file import asked_path
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.state.temporary import remove_leftovers
from stages.evidence.questions import Judge, Question, Reply

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """A reply and its key; as JSON values it is the provenance of a number."""

    key: str
    reply: Reply

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, **asdict(self.reply)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Answer":
        """Raises KeyError, TypeError or ValueError where `raw` is not one."""
        reply = Reply(float(raw["log_odds"]), float(raw["mass"]))
        if not _is_finite(reply):
            raise ValueError(f"the reply {reply} is not finite")
        return cls(str(raw["key"]), reply)


class Asked:
    """Answers questions from what is known, and the others through a judge.

    Args:
        path: the evidence file that is being made.
        stamp: of that file.
        identity: what a reply depends on beside the question: weights id, prompt version, precision.
        per_pass: questions asked together; what is known is written after each such pass.
        known: replies by key that need not be asked for.
    """

    def __init__(
        self, path: Path, stamp: Stamp, identity: Mapping[str, Any], per_pass: int, known: Mapping[str, Reply]
    ) -> None:
        self.path, self.stamp, self.identity, self.per_pass = asked_path(path), stamp, identity, per_pass
        remove_leftovers(self.path)
        self.known = {**known, **_load(self.path)}

    def ask(self, judge: Judge, questions: Sequence[Question]) -> list[Answer]:
        """The answers, in order of the questions.

        Passes are cut from the whole list, not from what is missing: a resumed run asks the same batches
        as an uninterrupted one, and gets the same numbers.

        Raises:
            ValueError: a reply of the judge is not finite; nothing of that pass is kept.
        """
        keys = [self.key(question) for question in questions]
        for start in range(0, len(questions), self.per_pass):
            batch = slice(start, start + self.per_pass)
            if any(key not in self.known for key in keys[batch]):
                self._pass(judge, questions[batch], keys[batch])
        return [Answer(key, self.known[key]) for key in keys]

    def key(self, question: Question) -> str:
        """The digest of everything that the reply depends on."""
        return digest([self.identity, [picture.digest for picture in question.pictures], question.text])

    def _pass(self, judge: Judge, questions: Sequence[Question], keys: Sequence[str]) -> None:
        replies = judge.log_odds(questions)
        assert len(replies) == len(questions)
        for reply, question in zip(replies, questions, strict=True):
            if not _is_finite(reply):
                raise ValueError(f"{self.path}: the reply to {question.text!r} is {reply}; it is not kept")
        self.known |= dict(zip(keys, replies, strict=True))
        kept = [Answer(key, reply).to_json() for key, reply in sorted(self.known.items())]
        write_json(self.path, {"replies": kept}, self.stamp)


def _load(path: Path) -> dict[str, Reply]:
    if not path.exists():
        return {}
    try:
        document = read_json(path, GATHER_EVIDENCE.name, GATHER_EVIDENCE.version)
        answers = [Answer.from_json(raw) for raw in document["replies"]]
    except (CacheError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: not usable (%s); its questions are asked again", path, error)
        return {}
    return {answer.key: answer.reply for answer in answers}


def _is_finite(reply: Reply) -> bool:
    return math.isfinite(reply.log_odds) and math.isfinite(reply.mass)
