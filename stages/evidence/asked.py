"""The replies of a model to one video's questions, kept while its evidence file is written, so that nothing is asked twice.

.<video>.asked.json beside the evidence file: {"replies": [{"key": …, "scores": […], "mass": …, …}, …]} and the stamp of
the file that is being made. A key is the digest of everything that a reply depends on, so replies may also come from
another file: what an older evidence file says of its numbers serves as well.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.core.digests import digest
from stages.core.state.cache import CacheError, Stamp, read_json, write_json
from stages.core.state.evidence_file import VideoEvidence, asked_path, read_evidence
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.state.temporary import remove_leftovers
from stages.evidence.questions import Judge, PartlyAnswered, Picture, Question, Reply

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
        scores, bounded = tuple(map(float, raw["scores"])), tuple(map(int, raw["bounded"]))
        reply = Reply(scores, float(raw["mass"]), raw["kind"], bounded)
        if len(scores) < 2 or not reply.is_finite:
            raise ValueError(f"the reply {reply} weighs fewer than two options, or is not finite")
        return cls(str(raw["key"]), reply)


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
        self, path: Path, stamp: Stamp, identity: Mapping[str, Any], per_pass: int, known: Mapping[str, Reply]
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
        return [Answer(key, self.known[key]) for key in keys]

    def key(self, question: Question) -> str:
        """The digest of everything that the reply depends on."""
        return key_of(question, self.identity)

    def _pass(self, judge: Judge, questions: Mapping[str, Question]) -> None:
        try:
            replies = judge.answer(list(questions.values()))
        except PartlyAnswered as error:
            keys = list(questions)
            self._keep({keys[index]: reply for index, reply in error.replies.items()})
            raise
        assert len(replies) == len(questions)
        for reply, question in zip(replies, questions.values(), strict=True):
            assert len(reply.scores) == len(question.options)
            if not reply.is_finite:
                raise ValueError(f"{self.path}: the reply to {question.asked[-1]!r} is {reply}; it is not kept")
        self._keep(dict(zip(questions, replies, strict=True)))

    def _keep(self, replies: Mapping[str, Reply]) -> None:
        self.known |= replies
        kept = [Answer(key, reply).to_json() for key, reply in sorted(self.known.items())]
        write_json(self.path, {"replies": kept}, self.stamp)


def key_of(question: Question, identity: Mapping[str, Any]) -> str:
    """The digest of a question and of who is asked."""
    parts = [{"picture": part.digest} if isinstance(part, Picture) else part for part in question.parts]
    return digest([identity, parts, question.options])


def kept_in(path: Path) -> dict[str, Reply]:
    """The replies that a job has left in a file of `Asked`, by key; none where it is missing or damaged."""
    if not path.exists():
        return {}
    try:
        document = read_json(path, GATHER_EVIDENCE.name, GATHER_EVIDENCE.version)
        answers = [Answer.from_json(raw) for raw in document["replies"]]
    except (CacheError, ValueError, KeyError, TypeError) as error:
        log.warning("%s: not usable (%s); its questions are asked again", path, error)
        return {}
    return {answer.key: answer.reply for answer in answers}


def replies_in(path: Path) -> dict[str, Reply]:
    """The replies that a finished evidence file gives as the provenance of its numbers, by key.

    The file may be stale: a reply whose key is asked for again is still right. One that cannot be used gives none.
    """
    try:
        evidence = read_evidence(path).values()
        said = [known.provenance for known in evidence] + [t.provenance for known in evidence for t in known.tracks]
        answers = [Answer.from_json(raw) for provenance in said for raw in _answers_in(provenance)]
    except (CacheError, KeyError, TypeError, ValueError):  # missing, damaged, or of another kind
        return {}
    return {answer.key: answer.reply for answer in answers}


def keys_in(evidence: VideoEvidence) -> set[str]:
    """The keys of all replies that the numbers of a video's evidence came from: how many questions were answered."""
    said = [known.provenance for known in evidence.values()]
    said += [entry.provenance for known in evidence.values() for entry in known.tracks]
    return {str(raw["key"]) for provenance in said for raw in _answers_in(provenance)}


def _answers_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """What `Answer.to_json` gave, wherever it stands."""
    if isinstance(value, Mapping) and value.keys() >= {"key", "scores", "mass"}:
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _answers_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _answers_in(inner)
