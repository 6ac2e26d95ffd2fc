"""Kind `detector`: what a detector said of each track, for each sentence it was asked about.

Its prompts carry a score for the sentence they were detected for, and speak for every track that has much the same
mask in the prompt's frame, whatever the track's source. A selector does not see these scores, though it is the detector
that knows best what things look like. The log-odds are the logit of the score; a track that no prompt of the sentence
matches has no entry. Nothing is loaded: the prompts are in the cache.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from stages.core.config.section import Section
from stages.core.records import TrackId, Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, VideoEvidence
from stages.core.state.fingerprints import upstream
from stages.core.state.graph import GENERATE_PROMPTS
from stages.core.tables import SOURCES, EvidenceKind, Gather
from stages.evidence.candidates import candidate_tracks

SURE = 0.999  # scores are clipped to 1 − SURE … SURE: a detector's sigmoid is never as sure as its rounding


class DetectorSettings(Section):
    """Whose prompts are read, and how they are matched with tracks."""

    source: str = Field(description="Source of the prompts: one that detects for each sentence (gdino)")
    match_iou: Annotated[float, Field(gt=0, le=1)] = Field(
        description="A prompt matches a track whose mask in the prompt's frame has at least this IoU with it"
    )
    pool: Literal["best", "mean"] = Field(description="Which score of a track's prompts counts")

    @field_validator("source")
    @classmethod
    def _known(cls, source: str) -> str:
        return SOURCES[source].name


def log_odds(score: float) -> float:
    """The logit of a detector's score, which is clipped first."""
    score = min(max(score, 1 - SURE), SURE)
    return math.log(score / (1 - score))


def _ingredients(job: Job, settings: DetectorSettings, video: Video) -> Mapping[str, Any]:
    return {"prompts": upstream(job.layout, GENERATE_PROMPTS, video.id, settings.source)}


def _tasks(settings: DetectorSettings) -> tuple[str, ...]:
    return (GENERATE_PROMPTS.task(settings.source),)


def _load(job: Job, settings: DetectorSettings, device: str) -> Gather:
    from stages.prompting.detections import match_detections

    def gather(video: Video, path: Path, stamp: Stamp) -> VideoEvidence:
        tracks_of = candidate_tracks(job.layout, video, job.settings.selector.sources.evaluate)
        ids = list(dict.fromkeys(track for tracks in tracks_of.values() for track in tracks))
        matched = match_detections(job.layout, video, ids, settings.source, settings.match_iou)
        pooled_EM = matched.best_EM if settings.pool == "best" else matched.mean_EM
        column = {track: m for m, track in enumerate(ids)}
        return {
            e.id: _about({track: float(scores_M[column[track]]) for track in tracks_of[e.id]})
            for e, scores_M in zip(video.expressions, pooled_EM, strict=True)
            if e.has_word
        }

    return gather


def _about(scores: Mapping[TrackId, float]) -> ExpressionEvidence:
    """The evidence on one expression; a track that no prompt matches has the score NaN."""
    return ExpressionEvidence(
        tuple(
            TrackEvidence(track, log_odds(score), {"score": score})
            for track, score in scores.items()
            if not math.isnan(score)
        )
    )


KIND = EvidenceKind(
    name="detector",
    settings=DetectorSettings,
    roles=(),
    uses_scores=lambda _: False,
    ingredients=_ingredients,
    load=_load,
    tasks=_tasks,
)
