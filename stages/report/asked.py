"""What an MLLM was shown and asked, made again by the code that asked.

A reply is kept under the digest of its question, pictures included. A question made again that has the same digest is
the one that was asked, to the last pixel; where none has, as after a change of the config, the page says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.state.cache import read_stamp
from stages.core.state.evidence_file import VideoEvidence
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.tables import EVIDENCE
from stages.evidence.asked import key_of, keys_in, said_in
from stages.evidence.backends.loading import identity_by_ids
from stages.evidence.judging.asker import Subject
from stages.evidence.judging.model import how_asked
from stages.evidence.judging.settings import AskingSettings
from stages.evidence.questions import Part, Parts, Picture, Question


@dataclass
class Redrawn:
    """The questions of a video by the keys of their replies, as JSON values that share equal parts.

    Attributes:
        parts: words, or {"picture": digest, "width", "height"}.
        questions: key → {"context": indices of parts, "asked": indices of parts, "options"}.
        pictures: digest → picture.
        unknown: name of evidence → why its questions are not shown.
    """

    parts: list[Any] = field(default_factory=list)
    questions: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    _index: dict[str, int] = field(default_factory=dict, repr=False)

    def add(self, key: str, question: Question) -> None:
        self.questions[key] = {
            "context": self._indices(question.context),
            "asked": self._indices(question.asked),
            "options": list(question.options),
        }

    def to_json(self) -> dict[str, Any]:
        return {"parts": self.parts, "questions": self.questions, "unknown": self.unknown}

    def _indices(self, parts: Parts) -> list[int]:
        return [self._index_of(part) for part in parts]

    def _index_of(self, part: Part) -> int:
        name = f"picture {part.digest}" if isinstance(part, Picture) else f"words {part}"
        if name not in self._index:
            self._index[name] = len(self.parts)
            if isinstance(part, Picture):
                height, width = part.pixels_HW3.shape[:2]
                self.pictures[part.digest] = part
                self.parts.append({"picture": part.digest, "width": width, "height": height})
            else:
                self.parts.append(part)
        return self._index[name]


def redraw(job: Job, video: Video, gathered: Mapping[str, VideoEvidence]) -> Redrawn:
    """The questions behind a video's evidence."""
    redrawn = Redrawn()
    for name, evidence in gathered.items():
        wanted = keys_in(evidence)
        if not wanted:
            continue
        try:
            asked = _asked(job, name, video, evidence)
        except (ValueError, OSError) as error:
            redrawn.unknown[name] = str(error)
            continue
        for key in sorted(wanted & asked.keys()):
            redrawn.add(key, asked[key])
        if missing := len(wanted - asked.keys()):
            redrawn.unknown[name] = (
                f"{missing} of {len(wanted)} questions cannot be shown: they were asked with other settings, frames or "
                f"tracks than there are now; gather {name!r} again to see them"
            )
    return redrawn


def _asked(job: Job, name: str, video: Video, evidence: VideoEvidence) -> dict[str, Question]:
    """Key → question, of all that would be asked now, given the same replies."""
    settings: Any = job.settings.evidence.get(name)
    kind = None if settings is None else EVIDENCE[settings.kind]
    if kind is None or kind.plan is None or not isinstance(settings, AskingSettings):
        raise ValueError(f"evidence.{name} of the config asks nothing (any more)")
    stamp = read_stamp(job.layout.file(GATHER_EVIDENCE, video.id, name), GATHER_EVIDENCE.name)
    who = {**identity_by_ids(settings, stamp.ingredients.get("weights", {})), **how_asked()}
    if kind.asked is not None:
        questions = kind.asked(job, settings, video, said_in(evidence), who)
    else:
        plan = kind.plan(settings, Subject.of(job, settings, video), video)
        questions = (*plan.questions, *plan.perhaps)
    return {key_of(question, who): question for question in questions}
