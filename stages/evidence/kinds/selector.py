"""Kind `selector`: the logits that another trained selector gives the tracks, beside the one whose scores decide.

Trainings with other seeds, inputs or architectures err in different places. As evidence they are weighed with the score
by the fusion, or averaged by kind `average`. The numbers are exactly those that score_tracks gives with the same file.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages.core.config.section import Section
from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, VideoEvidence
from stages.core.state.graph import ENCODE_TEXT, GENERATE_PROMPTS
from stages.core.tables import EvidenceKind, Gather

if TYPE_CHECKING:
    from stages.selectors.applied import SelectorFile


class SelectorSettings(Section):
    """Which selector is asked."""

    weights: str = Field(
        min_length=1, description="A selector's safetensors file, as datasets.<name>.selector.weights takes"
    )

    def stamped(self) -> dict[str, Any]:
        """Where the file is stored moves no number; the stamp has its digest."""
        return self.model_dump(mode="json", exclude={"weights"})


def _files(settings: SelectorSettings) -> Mapping[str, str]:
    return {"weights": settings.weights}


def _ingredients(job: Job, settings: SelectorSettings, video: Video) -> Mapping[str, Any]:
    return _read(Path(settings.weights)).ingredients(job, video)


def _read(path: Path) -> "SelectorFile":
    """Asked again for every video, and read again where the file has changed."""
    state = path.stat()
    return _read_once(path, (state.st_size, state.st_mtime_ns, state.st_ino))


@lru_cache(maxsize=8)
def _read_once(path: Path, state: tuple[int, int, int]) -> "SelectorFile":
    from stages.selectors.applied import SelectorFile

    return SelectorFile.read(path)


def _tasks(settings: SelectorSettings) -> tuple[str, ...]:
    from stages.selectors import detector_seen_by

    seen = detector_seen_by(Path(settings.weights))
    prompts = () if seen is None else (GENERATE_PROMPTS.task(seen.source),)
    return (ENCODE_TEXT.task(None), *prompts)


def _load(job: Job, settings: SelectorSettings, device: str) -> Gather:
    from stages.selectors.applied import load_scorer

    path = Path(settings.weights)
    identifier, (_, scores_of) = _read(path).id, load_scorer(job, path, device)

    def gather(video: Video, path: Path, stamp: Stamp) -> VideoEvidence:
        scores = scores_of(video)
        return {
            e.id: ExpressionEvidence(
                tuple(TrackEvidence(candidate.id, candidate.score) for candidate in scores[e.id]),
                provenance={"selector": identifier},
            )
            for e in video.expressions
            if e.has_word
        }

    return gather


KIND = EvidenceKind(
    name="selector",
    settings=SelectorSettings,
    roles=(),
    uses_scores=lambda _: False,
    ingredients=_ingredients,
    load=_load,
    tasks=_tasks,
    files=_files,
    device=True,
)
