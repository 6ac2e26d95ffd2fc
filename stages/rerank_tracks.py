"""Decides which tracks every expression refers to: the selector's scores, and an MLLM's look at the best.

Reads   scores/<video>.json, tracks/<source>/<video>.h5 and the frames of a split.
Writes  decisions/<video>.json: the candidates with match, final score and decision; possibly none is
        chosen (no target). replies/<video>.json: the MLLM's replies, so that nothing is asked twice.
Why     the selector sees object tokens only; the MLLM sees the picture and can compare candidates side by
        side. Only new replies cost: another weight or threshold decides anew from the kept ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.records import Video
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import run_shard
from stages.core.state.fingerprints import upstream
from stages.core.state.graph import RERANK_TRACKS, SCORE_TRACKS
from stages.core.state.weights import find_weights
from stages.datasets import open_split
from stages.evidence.prompts import PROMPT_VERSION
from stages.evidence.reranker import Reranker


def run(job: Job) -> None:
    settings = job.settings
    weights = find_weights(job.config, job.dataset, "mllm") if settings.rerank.enabled else None
    asked = {} if weights is None else {"weights": {"mllm": weights.id}, "prompt_version": PROMPT_VERSION}

    def ingredients(video: Video) -> Mapping[str, Any]:
        return {"scores": upstream(job.layout, SCORE_TRACKS, video.id), **asked}

    def make_worker(device: str) -> Reranker:
        return Reranker(job.layout, settings.rerank, settings.selector.threshold, weights, device)

    run_shard(job, RERANK_TRACKS, open_split(job.config, job.dataset, job.split).videos(), ingredients, make_worker)


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
