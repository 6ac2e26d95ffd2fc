"""Weights of runs that are averaged, fitted to the split that fusions are fitted to."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from stages.core.config.loading import fitting_split
from stages.core.digests import digest
from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.state.cache import read_stamp
from stages.core.state.choices import Candidate
from stages.core.state.graph import BUILD_TRACKS, GATHER_EVIDENCE, Layout
from stages.datasets import open_split
from stages.evidence.candidates import candidate_tracks
from stages.evidence.fusion.features import EVIDENCE, Inputs
from stages.evidence.fusion.fit import learn
from stages.evidence.fusion.reading import read_gathered, sentences_of
from stages.evidence.fusion.table import NAN, Sentence


def fitted_weights(job: Job, of: Sequence[str]) -> dict[str, float]:
    """Name → its share of the mean: the weight of a logistic regression on labelled tracks, none below 0.

    Raises:
        ValueError: the split has no ground truth, or nothing can be learnt from its tracks.
        CacheError: evidence about it is missing or damaged.
    """
    layout, videos = _fitting(job)
    sentences = [sentence for video in videos for sentence in _labelled(job, layout, video, of)]
    learnt = learn([sentence for sentence in sentences if sentence.asked], Inputs(tuple(of), score=False)).weights
    weights = {name: max(0.0, learnt[EVIDENCE + name]) for name in of}
    total = sum(weights.values())
    return {name: weight / total if total > 0 else 1 / len(of) for name, weight in weights.items()}


def fitted_digest(job: Job, of: Sequence[str]) -> str:
    """Of everything that `fitted_weights` reads."""
    layout, videos = _fitting(job)
    sources = job.settings.selector.sources.evaluate
    stages = [(GATHER_EVIDENCE, name) for name in of] + [(BUILD_TRACKS, source) for source in sources]
    files = [(stage.name, layout.file(stage, video.id, branch)) for video in videos for stage, branch in stages]
    state = [(path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else None for _, path in files]
    return digest([_fingerprints(tuple(files), tuple(state)), job.settings.selector.training.positive_iou])


@lru_cache(maxsize=4)
def _fingerprints(files: tuple[tuple[str, Path], ...], state: tuple[tuple[int, int] | None, ...]) -> list[str]:
    """Of the files, in their order; asked again for every video, and read again where one of them has changed."""
    return [read_stamp(path, stage).fingerprint for stage, path in files]


def _fitting(job: Job) -> tuple[Layout, list[Video]]:
    dataset, split = fitting_split(job.config, job.dataset).split("/")
    reader = open_split(job.config, dataset, split)
    if not reader.has_truth:
        raise ValueError(f"{dataset}/{split} has no ground truth: weights are fitted to a split that has it")
    return Layout.of(job.config, dataset, split), [video for video in reader.videos() if not video.defect]


def _labelled(job: Job, layout: Layout, video: Video, of: Sequence[str]) -> list[Sentence]:
    from stages.selectors.samples import open_video

    sources = job.settings.selector.sources.evaluate
    tracks = open_video(layout, video, sources)
    labels = {
        expression.id: np.asarray(tracks.labels_of(e, job.settings.selector.training.positive_iou))
        for e, expression in enumerate(video.expressions)
        if expression.annotations is not None
    }
    choices = {
        expression: [Candidate(*track, NAN) for track in ids]
        for expression, ids in candidate_tracks(layout, video, sources).items()
    }
    return sentences_of(layout, video, choices, read_gathered(layout, video, of), overlaps=False, labels=labels)
