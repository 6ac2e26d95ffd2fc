"""Scores every track of a video against every expression with the trained selector.

Reads:  track files of `selector.sources.evaluate`, text files, and the data set's selector; and the prompt files of a
        detector, where the selector was trained to see its scores.
Writes: <cache>/<dataset>/<split>/scores/<video>.json: one logit per candidate, and the selector's threshold
        (stages.core.state.choices).
Why:    scores are kept apart from decisions: another threshold or another MLLM needs no second scoring.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.records import Video
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import Worker, run_shard
from stages.core.state.cache import Stamp
from stages.core.state.choices import write_choices
from stages.core.state.graph import SCORE_TRACKS
from stages.datasets import open_split
from stages.selectors import finished_selector, load


def run(job: Job) -> None:
    """Brings the score files of the job's shard to their finished state.

    Raises:
        ValueError: the selector is missing, its training is not finished, or it is not one of ours.
    """
    from stages.selectors.checkpoint import read_header, selector_id
    from stages.selectors.inputs import read_inputs

    path = finished_selector(job.config, job.dataset)
    header, identifier = read_header(path), selector_id(path)
    sources = job.settings.selector.sources.evaluate

    def ingredients(video: Video) -> Mapping[str, Any]:
        inputs = read_inputs(job.layout, [video], sources, header.seen_detector)
        header.check_weights(inputs.weights, path, f"{job.dataset}/{job.split}, video {video.id}")
        seen = {} if header.detector is None else {"detector": dict(header.detector)}
        return {"selector": identifier, "inputs": dict(inputs.fingerprints), **seen}

    videos = open_split(job.config, job.dataset, job.split).videos()
    run_shard(job, SCORE_TRACKS, videos, ingredients, lambda device: make_worker(job, path, device))


def make_worker(job: Job, selector_path: Path, device: str) -> Worker:
    """Loads the selector; one call per video after that."""
    from stages.selectors.samples import open_video
    from stages.selectors.scoring import score_video
    from stages.training.arithmetic import full_float32

    full_float32()
    selector = load(selector_path, device)
    sources = job.settings.selector.sources.evaluate

    def work(video: Video, path: Path, stamp: Stamp) -> None:
        choices = score_video(selector, open_video(job.layout, video, sources), job.settings.run.batches.tokens)
        write_choices(path, stamp, choices, selector.threshold, job.history)

    return work


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
