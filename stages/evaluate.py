"""Scores the chosen tracks of every expression against the ground truth.

Reads:  the decisions (rerank_tracks), the masks of the chosen tracks (build_tracks), the annotations.
Writes: <cache>/<dataset>/<split>/evaluation/<video>.json: a row an expression (see stages/metrics/report.py).

Why: J and F are the costly part of a report; a video at a time they can be resumed and sharded, and what
collects them has nothing left but means. A split without ground truth gets the same rows without scores.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stages.core.cache import Stamp, write_json
from stages.core.choices import Candidate, Choices, predicted_masks, read_choices
from stages.core.cli import Job, execute
from stages.core.fingerprints import annotations_digest, upstream
from stages.core.frames import open_frames
from stages.core.graph import EVALUATE, RERANK_TRACKS
from stages.core.records import Split, Video
from stages.core.runner import run_shard
from stages.datasets import open_split

log = logging.getLogger(__name__)


def run(job: Job) -> None:
    split = open_split(job.config, job.dataset, job.split)
    if not split.has_truth:
        log.info("%s/%s has no ground truth: rows are written without scores", job.dataset, job.split)

    def ingredients(video: Video) -> Mapping[str, Any]:
        return {
            "decisions": upstream(job.layout, RERANK_TRACKS, video.id),
            "annotations": annotations_digest(video, split.annotations(video)),
        }

    run_shard(job, EVALUATE, split.videos(), ingredients, lambda device: partial(evaluate_video, job, split))


def evaluate_video(job: Job, split: Split, video: Video, path: Path, stamp: Stamp) -> None:
    """Writes the rows of one video; raises ValueError, naming the expression, where masks do not fit the frames."""
    from stages.metrics.expression import Truth, score_expression

    frames = open_frames(job.layout, video.id)
    truth = Truth(split.annotations(video), frames.size, len(frames))
    decisions = job.layout.file(RERANK_TRACKS, video.id)
    choices = read_choices(decisions, RERANK_TRACKS)
    rows = []
    for expression in video.expressions:
        candidates = _candidates(choices, expression.id, decisions)
        try:
            masks_T = predicted_masks(job.layout, video.id, candidates, frames.size, len(frames))
            row = score_expression(expression, masks_T, truth.of(expression), job.settings.evaluate.boundary_ratio)
        except ValueError as error:
            raise ValueError(f"video {video.id!r}, expression {expression.id!r}: {error}") from error
        chosen = sum(candidate.chosen for candidate in candidates)
        rows.append({**row, "tracks": chosen, "frames": len(frames)})
    write_json(path, {"rows": rows}, stamp)


def _candidates(choices: Choices, expression: str, path: Path) -> Sequence[Candidate]:
    if expression not in choices:
        raise ValueError(f"{path}: decides nothing about expression {expression!r}; run rerank_tracks again")
    return choices[expression]


def main(argv: Sequence[str] | None = None) -> int:
    return execute(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
