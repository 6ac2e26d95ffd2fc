"""Scores every track of a video against every expression with the trained selector.

Reads:  track files of `selector.sources.evaluate`, text files, and the data set's selector; and the prompt files of a
        detector, where the selector was trained to see its scores.
Writes: <cache>/<dataset>/<split>/scores/<video>.json: one logit per candidate, and the selector's threshold
        (stages.core.state.choices).
Why:    scores are kept apart from decisions: another threshold or another MLLM needs no second scoring.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from stages.core.records import Video
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import Worker, run_shard
from stages.core.state.cache import Stamp
from stages.core.state.choices import write_choices
from stages.core.state.graph import SCORE_TRACKS
from stages.datasets import open_split
from stages.selectors import finished_selector
from stages.selectors.applied import SelectorFile, load_scorer


def run(job: Job) -> None:
    """Brings the score files of the job's shard to their finished state.

    Raises:
        ValueError: the selector is missing, its training is not finished, or it is not one of ours.
    """
    file = SelectorFile.read(finished_selector(job.config, job.dataset))
    videos = open_split(job.config, job.dataset, job.split).videos()
    make = partial(make_worker, job, file.path)
    run_shard(job, SCORE_TRACKS, videos, partial(file.ingredients, job), make)


def make_worker(job: Job, selector_path: Path, device: str) -> Worker:
    """Loads the selector; one call per video after that."""
    selector, scores_of = load_scorer(job, selector_path, device)

    def work(video: Video, path: Path, stamp: Stamp) -> None:
        write_choices(path, stamp, scores_of(video), selector.threshold, job.history)

    return work


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
