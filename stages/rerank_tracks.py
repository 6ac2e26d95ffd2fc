"""Decides which tracks every expression refers to: the selector's scores and the evidence, weighed.

Reads:  scores/<video>.json, and evidence/<name>/<video>.json for each name in `rerank.evidence`.
Writes: <cache>/<dataset>/<split>/decisions/<video>.json: the candidates with their evidence, final score and decision;
        possibly none is chosen (no target).
Why:    evidence is gathered once, at a cost; deciding takes no model and no device, so another weight or threshold
        decides anew in seconds.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stages.core.records import TrackId, Video
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import run_shard
from stages.core.state.cache import Stamp
from stages.core.state.choices import read_scores, read_threshold, write_choices
from stages.core.state.evidence_file import ExpressionEvidence, read_evidence
from stages.core.state.fingerprints import upstream
from stages.core.state.graph import GATHER_EVIDENCE, RERANK_TRACKS, SCORE_TRACKS
from stages.datasets import open_split
from stages.evidence.candidates import current_evidence
from stages.evidence.fusion import decide

NOTHING = 1.0  # no probability is above it: what has no word is answered with nothing


def run(job: Job) -> None:
    videos = open_split(job.config, job.dataset, job.split).videos()
    run_shard(job, RERANK_TRACKS, videos, partial(ingredients, job), lambda _: partial(decide_video, job))


def ingredients(job: Job, video: Video) -> Mapping[str, Any]:
    """What a video's decisions depend on: the scores, and the evidence that was gathered for them.

    Raises:
        CacheError: a file is missing, or evidence was gathered for other scores or tracks.
    """
    scores = upstream(job.layout, SCORE_TRACKS, video.id)
    evidence = {name: current_evidence(job, name, video) for name in job.settings.rerank.evidence}
    return {"scores": scores, "evidence": evidence}


def decide_video(job: Job, video: Video, path: Path, stamp: Stamp) -> None:
    """Writes the decisions on one video."""
    scores, configured = job.layout.file(SCORE_TRACKS, video.id), job.settings.selector.threshold
    threshold = read_threshold(scores) if configured == "auto" else configured
    weights = {name: job.settings.rerank.weights[name] for name in job.settings.rerank.evidence}
    gathered = {name: read_evidence(job.layout.file(GATHER_EVIDENCE, video.id, name)) for name in weights}
    choices = read_scores(job.layout, video)
    decided = {
        e.id: decide(choices[e.id], _about(gathered, e.id), weights, threshold if e.has_word else NOTHING)
        for e in video.expressions
    }
    write_choices(path, stamp, decided, threshold, weights=weights)


def _about(
    gathered: Mapping[str, Mapping[str, ExpressionEvidence]], expression: str
) -> dict[str, dict[TrackId, float]]:
    """Name → track → log-odds, of the evidence that knows something of an expression."""
    return {name: known[expression].log_odds for name, known in gathered.items() if expression in known}


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
