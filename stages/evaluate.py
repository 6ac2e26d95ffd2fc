"""Scores the chosen tracks of every expression against the ground truth.

Reads:  the decisions (rerank_tracks), the masks of the chosen tracks (build_tracks), the annotations.
Writes: <cache>/<dataset>/<split>/evaluation/<video>.json: one row per expression, and what the data set's protocol
        needs of the video as a whole (see stages/metrics/report.py and docs/metrics.md).

Why: J and F are the costly part of a report; computed per video they can be resumed and sharded, and what
collects them only has to average. A split without ground truth gets the same rows without scores.
An expression that an import left out counts as predicted empty, and is listed.
"""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.records import Expression, Split, Video
from stages.core.run import progress
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import run_shard
from stages.core.state.cache import Stamp, write_json
from stages.core.state.choices import Candidate, confidence, predicted_masks, read_answers
from stages.core.state.fingerprints import truth_facts, upstream
from stages.core.state.frames import open_frames
from stages.core.state.graph import EVALUATE, RERANK_TRACKS
from stages.datasets import open_split

if TYPE_CHECKING:
    from stages.metrics.scene import Answer, Comparison, Scene

log = logging.getLogger(__name__)

# Expression id → its candidates; None = not predicted.
Answers = Mapping[str, Sequence[Candidate] | None]


def run(job: Job) -> None:
    split = open_split(job.config, job.dataset, job.split)
    if not split.has_truth:
        log.info("%s/%s has no ground truth: rows are written without scores", job.dataset, job.split)
    run_shard(job, EVALUATE, split.videos(), partial(ingredients, job, split), lambda _: partial(evaluate, job, split))


def ingredients(job: Job, split: Split, video: Video) -> Mapping[str, Any]:
    """What a video's scores depend on: the decisions, everything they are compared with, and the rules."""
    return {"decisions": upstream(job.layout, RERANK_TRACKS, video.id), **truth_facts(split, video)}


def evaluate(job: Job, split: Split, video: Video, path: Path, stamp: Stamp) -> None:
    """Writes the scores of one video; raises ValueError, naming the expression, where masks do not fit the frames."""
    from stages.metrics.protocols import protocol_of
    from stages.metrics.scoring import open_scene

    protocol, ratio = protocol_of(split.protocol), job.settings.evaluate.boundary_ratio
    frames = open_frames(job.layout, video.id)
    scene = open_scene(split, video, frames.size, len(frames))
    answers = read_answers(job.layout.file(RERANK_TRACKS, video.id), video)
    with ThreadPoolExecutor(job.settings.run.threads) as pool:
        answered = pool.map(partial(score, job, split, scene, video, answers), video.expressions)
        scores = list(progress.steps(answered, len(video.expressions)))
    rows = [row for row, _, _ in scores]
    missing = [row["expression"] for row in rows if row["missing"]]
    if missing:
        log.warning("video %s: no prediction for expressions %s: scored as empty", video.id, ", ".join(missing))
    scored = [(answer, comparison) for _, answer, comparison in scores if answer is not None and comparison is not None]
    extra = protocol.extra(scene, scored, ratio) if protocol.extra and split.has_truth else None
    write_json(path, {"protocol": split.protocol, "rows": rows, "extra": extra}, stamp)


def score(
    job: Job, split: Split, scene: "Scene", video: Video, answers: Answers, expression: Expression
) -> tuple[dict[str, Any], "Answer | None", "Comparison | None"]:
    """One expression's row; with it, where the protocol looks at the video as a whole, what it looks at."""
    from stages.metrics.protocols import protocol_of
    from stages.metrics.scoring import score_answer

    protocol, ratio = protocol_of(split.protocol), job.settings.evaluate.boundary_ratio
    candidates = answers[expression.id]
    n_tracks = sum(c.chosen for c in candidates or ())
    try:
        answer = answer_of(job, scene, video, expression, candidates)
        row, comparison = score_answer(protocol, scene, answer, ratio, n_tracks)
    except ValueError as error:
        raise ValueError(f"video {video.id!r}, expression {expression.id!r}: {error}") from error
    return (row, answer, comparison) if protocol.extra is not None else (row, None, None)


def answer_of(
    job: Job, scene: "Scene", video: Video, expression: Expression, candidates: Sequence[Candidate] | None
) -> "Answer":
    """The chosen tracks as one answer; None = nothing was predicted."""
    from stages.metrics.clips import from_rles
    from stages.metrics.scene import Answer

    rles_T = predicted_masks(job.layout, video.id, candidates or (), scene.size, scene.n_frames)
    return Answer(expression, from_rles(rles_T, scene.size), confidence(candidates or ()), candidates is None)


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
