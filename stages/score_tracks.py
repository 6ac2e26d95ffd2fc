"""Scores every track of a video against every expression with the trained selector.

Reads:  track files of `selector.sources.evaluate`, text files, and the data set's selector; and the prompt files of a
        detector, where the selector was trained to see its scores.
Writes: <cache>/<dataset>/<split>/scores/<video>.json: one logit per candidate, and the selector's threshold
        (stages.core.state.choices). Without a selector (datasets.<name>.selector) every candidate's logit is 0: evidence
        decides alone.
Why:    scores are kept apart from decisions: another threshold or another MLLM needs no second scoring.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stages.core.config.loading import dataset_of
from stages.core.records import Video
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import Worker, run_shard
from stages.core.state.cache import Stamp
from stages.core.state.choices import Candidate, write_choices
from stages.core.state.fingerprints import expressions_digest, upstream
from stages.core.state.graph import BUILD_TRACKS, SCORE_TRACKS
from stages.datasets import open_split
from stages.evidence.candidates import candidate_tracks
from stages.selectors import finished_selector
from stages.selectors.applied import SelectorFile, load_scorer

UNSCORED_THRESHOLD = 0.5  # of evidence alone with fixed weights, where no selector has calibrated one


def run(job: Job) -> None:
    """Brings the score files of the job's shard to their finished state.

    Raises:
        ValueError: the selector is missing, its training is not finished, or it is not one of ours.
    """
    videos = open_split(job.config, job.dataset, job.split).videos()
    if dataset_of(job.config, job.dataset).selector.is_none:
        run_shard(job, SCORE_TRACKS, videos, partial(tracks_of, job), lambda _: partial(write_unscored, job))
        return
    file = SelectorFile.read(finished_selector(job.config, job.dataset))
    make = partial(make_worker, job, file.path)
    run_shard(job, SCORE_TRACKS, videos, partial(file.ingredients, job), make)


def make_worker(job: Job, selector_path: Path, device: str) -> Worker:
    """Loads the selector; one call per video after that."""
    selector, scores_of = load_scorer(job, selector_path, device)

    def work(video: Video, path: Path, stamp: Stamp) -> None:
        write_choices(path, stamp, scores_of(video), selector.threshold, job.history)

    return work


def tracks_of(job: Job, video: Video) -> Mapping[str, Any]:
    """What the candidates depend on where no selector scores them."""
    sources = job.settings.selector.sources.evaluate
    inputs = {source: upstream(job.layout, BUILD_TRACKS, video.id, source) for source in sources}
    return {"selector": None, "inputs": inputs, "expressions": expressions_digest(video)}


def write_unscored(job: Job, video: Video, path: Path, stamp: Stamp) -> None:
    """The candidates of a video, all alike."""
    tracks = candidate_tracks(job.layout, video, job.settings.selector.sources.evaluate)
    choices = {e: [Candidate(track.source, track.track, 0.0) for track in own] for e, own in tracks.items()}
    write_choices(path, stamp, choices, UNSCORED_THRESHOLD, job.history)


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
