"""Kind `seg`: agreement of each track with the masks that a [SEG]-token MLLM decoded for the sentence.

The masks are the prompts of source `seg`, whatever tracks they became; every track is compared with them in their frames,
whatever its source. The log-odds are the logit of the mean over these frames: a fitted fusion says what it is worth.
Nothing is loaded: the prompts are in the cache.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
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
from stages.evidence.kinds.detector import log_odds


class SegSettings(Section):
    """Whose masks are compared with tracks, and how."""

    source: str = Field(description="Source of the masks: one that decodes masks for each sentence (seg)")
    measure: Literal["iou", "inside"] = Field(
        description="What is averaged over frames with a mask: iou = IoU of track and mask; inside = the share of the track "
        "that is inside the mask, for sentences that mean several objects"
    )

    @field_validator("source")
    @classmethod
    def _known(cls, source: str) -> str:
        return SOURCES[source].name


def _ingredients(job: Job, settings: SegSettings, video: Video) -> Mapping[str, Any]:
    return {"prompts": upstream(job.layout, GENERATE_PROMPTS, video.id, settings.source)}


def _tasks(settings: SegSettings) -> tuple[str, ...]:
    return (GENERATE_PROMPTS.task(settings.source),)


def _load(job: Job, settings: SegSettings, device: str) -> Gather:
    from stages.prompting.seg.agreement import agreement

    def gather(video: Video, path: Path, stamp: Stamp) -> VideoEvidence:
        tracks_of = candidate_tracks(job.layout, video, job.settings.selector.sources.evaluate)
        ids = list(dict.fromkeys(track for tracks in tracks_of.values() for track in tracks))
        agreed = agreement(job.layout, video, ids, settings.source, settings.measure)
        column = {track: m for m, track in enumerate(ids)}
        return {
            e.id: ExpressionEvidence(
                tuple(
                    _about(track, mean_M[column[track]], frames_M[column[track]])
                    for track in tracks_of[e.id]
                    if frames_M[column[track]]
                )
            )
            for e, mean_M, frames_M in zip(video.expressions, agreed.mean_EM, agreed.frames_EM, strict=True)
            if e.has_word
        }

    return gather


def _about(track: TrackId, mean: np.float64, frames: np.int64) -> TrackEvidence:
    return TrackEvidence(track, log_odds(float(mean)), {"agreement": float(mean), "frames": int(frames)})


KIND = EvidenceKind(
    name="seg",
    settings=SegSettings,
    roles=(),
    uses_scores=lambda _: False,
    ingredients=_ingredients,
    load=_load,
    tasks=_tasks,
)
