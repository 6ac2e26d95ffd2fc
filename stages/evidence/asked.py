"""The replies of a model to one video's questions, kept while its evidence file is written, so that nothing is asked twice.

.<video>.asked.json beside the evidence file: {"replies": [{"key": …, "scores": […], "mass": …, …}, {"key": …, "text": …,
"choices": […]}, …]} and the stamp of the file that is being made. A key is the digest of everything that a reply depends on, so replies may also come from
another file: what an older evidence file says of its numbers serves as well.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from stages.core.digests import digest
from stages.core.state.cache import CacheError, Stamp, read_json, write_json
from stages.core.state.evidence_file import VideoEvidence, asked_path, read_evidence
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.state.temporary import remove_leftovers
from stages.evidence.questions import Choice, Judge, PartlyAnswered, Picture, Question, Reply, Said, Writer, Written

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
        return cls(str(raw["key"]), _reply_from(raw))


@dataclass(frozen=True)
class Text:
    """An answer in words and its key; as JSON values it is the provenance of what was read in it."""

    key: str
    written: Written

    def to_json(self) -> dict[str, Any]:
        choices = [{"position": each.position, **asdict(each.reply)} for each in self.written.choices]
        return {"key": self.key, "text": self.written.text, "choices": choices}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Text":
        """Raises KeyError, TypeError or ValueError where `raw` is not one."""
        choices = tuple(Choice(int(each["position"]), _reply_from(each)) for each in raw["choices"])
        return cls(str(raw["key"]), Written(str(raw["text"]), choices))


def _reply_from(raw: Mapping[str, Any]) -> Reply:
    scores, bounded = tuple(map(float, raw["scores"])), tuple(map(int, raw["bounded"]))
    reply = Reply(scores, float(raw["mass"]), raw["kind"], bounded)
    if len(scores) < 2 or not reply.is_finite:
        raise ValueError(f"the reply {reply} weighs fewer than two options, or is not finite")
    return reply


def _kept(key: str, said: Said) -> dict[str, Any]:
    return (Answer(key, said) if isinstance(said, Reply) else Text(key, said)).to_json()


def _read(raw: Mapping[str, Any]) -> tuple[str, Said]:
    if "text" in raw:
        text = Text.from_json(raw)
        return text.key, text.written
    answer = Answer.from_json(raw)
    return answer.key, answer.reply


@dataclass
class Patience:
    """How many questions of a video may remain without an answer.

    Attributes:
        most: with more, no other is asked; 0 = a question without an answer fails the video.
        refused: key → why there is no answer.
    """

    most: int
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return len(self.refused) > self.most


class Asked:
    """Answers questions from what is known, and the others through a judge.

    Args:
        path: the evidence file that is being made.
        stamp: of that file.
        identity: what a reply depends on beside the question: weights id, prompt version, precision, backend.
        per_pass: questions asked together; what is known is written after each such pass.
        known: replies by key that need not be asked for.
    """

    def __init__(
        self, path: Path, stamp: Stamp, identity: Mapping[str, Any], per_pass: int, known: Mapping[str, Said]
    ) -> None:
        self.path, self.stamp, self.identity, self.per_pass = asked_path(path), stamp, identity, per_pass
        remove_leftovers(self.path)
        self.known = {**known, **kept_in(self.path)}

    def ask(self, judge: Judge, questions: Sequence[Question]) -> list[Answer]:
        """The answers, in order of the questions; equal questions are asked once.

        Passes are cut from what is missing and are answered in order, so a resumed run asks the same passes as an
        uninterrupted one, and gets the same numbers.

        Raises:
            ValueError: a reply of the judge is not finite: nothing of that pass is kept; or some are missing: what came
                is kept.
        """
        keys = [self.key(question) for question in questions]
        fresh = {key: question for key, question in zip(keys, questions, strict=True) if key not in self.known}
        missing = list(fresh.items())
        for start in range(0, len(missing), self.per_pass):
            self._pass(judge, dict(missing[start : start + self.per_pass]))
        return [Answer(key, reply) for key in keys if isinstance(reply := self.known[key], Reply)]

    def ask_patiently(self, judge: Writer, questions: Sequence[Question], patience: Patience) -> dict[str, Said]:
        """Key → what was said, of the questions that have an answer. What is written and what is one word go apart.

        Raises:
            ValueError: as `ask`, where it is not the matter of single questions, or `patience` allows none.
        """
        keyed = {self.key(question): question for question in questions}
        while missing := [key for key in keyed if key not in self.known and key not in patience.refused]:
            if patience.is_over:
                break
            written = keyed[missing[0]].answer_tokens > 0
            taken = [key for key in missing if (keyed[key].answer_tokens > 0) == written][: self.per_pass]
            try:
                self._pass(judge, {key: keyed[key] for key in taken})
            except PartlyAnswered as error:
                if not error.refused or not patience.most:
                    raise
                patience.refused |= {taken[index]: reason for index, reason in error.refused.items()}
        return {key: self.known[key] for key in keyed if key in self.known}

    def key(self, question: Question) -> str:
        """The digest of everything that the reply depends on."""
        return key_of(question, self.identity)

    def _pass(self, judge: Judge, questions: Mapping[str, Question]) -> None:
        try:
            said = _put(judge, list(questions.values()))
        except PartlyAnswered as error:
            keys = list(questions)
            self._keep({keys[index]: reply for index, reply in error.replies.items()})
            raise
        assert len(said) == len(questions)
        for each, question in zip(said, questions.values(), strict=True):
            assert isinstance(each, Written) or len(each.scores) == len(question.options)
            if not each.is_finite:
                raise ValueError(f"{self.path}: the reply to {question.asked[-1]!r} is {each}; it is not kept")
        self._keep(dict(zip(questions, said, strict=True)))

    def _keep(self, said: Mapping[str, Said]) -> None:
        self.known |= said
        kept = [_kept(key, each) for key, each in sorted(self.known.items())]
        write_json(self.path, {"replies": kept}, self.stamp)


def _put(judge: Judge, questions: Sequence[Question]) -> Sequence[Said]:
    """Questions that are all answered in one word, or all in writing."""
    if not any(question.answer_tokens for question in questions):
        return judge.answer(questions)
    return cast(Writer, judge).write(questions)


def key_of(question: Question, identity: Mapping[str, Any]) -> str:
    """The digest of a question and of who is asked."""
    parts = [{"picture": part.digest} if isinstance(part, Picture) else part for part in question.parts]
    written = [question.answer_tokens] if question.answer_tokens else []
    return digest([identity, parts, question.options, *written])


def kept_in(path: Path) -> dict[str, Said]:
    """The replies that a job has left in a file of `Asked`, by key; none where it is missing or damaged."""
    if not path.exists():
        return {}
    try:
        document = read_json(path, GATHER_EVIDENCE.name, GATHER_EVIDENCE.version)
        return dict(_read(raw) for raw in document["replies"])
    except (CacheError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: not usable (%s); its questions are asked again", path, error)
        return {}


def replies_in(path: Path) -> dict[str, Said]:
    """The replies that a finished evidence file gives as the provenance of its numbers, by key.

    The file may be stale: a reply whose key is asked for again is still right. One that cannot be used gives none.
    """
    try:
        return said_in(read_evidence(path))
    except (CacheError, KeyError, TypeError, ValueError):  # missing, damaged, or of another kind
        return {}


def said_in(evidence: VideoEvidence) -> dict[str, Said]:
    """The replies that a video's numbers came from, by key; raises KeyError, TypeError or ValueError where one is damaged."""
    return dict(_read(raw) for raw in _raw_in(evidence))


def keys_in(evidence: VideoEvidence) -> set[str]:
    """The keys of all replies that the numbers of a video's evidence came from: how many questions were answered."""
    return {str(raw["key"]) for raw in _raw_in(evidence)}


def _raw_in(evidence: VideoEvidence) -> Iterator[Mapping[str, Any]]:
    said = [known.provenance for known in evidence.values()]
    said += [entry.provenance for known in evidence.values() for entry in known.tracks]
    return (raw for provenance in said for raw in _answers_in(provenance))


def _answers_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """What `Answer.to_json` or `Text.to_json` gave, wherever it stands."""
    if isinstance(value, Mapping) and (value.keys() >= {"key", "scores", "mass"} or value.keys() >= {"key", "text"}):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _answers_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _answers_in(inner)
