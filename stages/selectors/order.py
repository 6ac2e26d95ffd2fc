"""The order of training: batches of one video's expressions, drawn from the seed and the epoch alone."""

from collections.abc import Iterator, Sequence

import numpy as np

from stages.selectors.batch import Sample
from stages.selectors.samples import VideoTracks
from stages.selectors.validation import known_expressions

# Index of a video, and of some of its expressions.
Step = tuple[int, list[int]]


def trainable(videos: Sequence[VideoTracks]) -> list[list[int]]:
    """The expressions of each video that have a track to choose and a known truth."""
    return [[e for e in known_expressions(tracks) if len(tracks.tracks_of(e))] for tracks in videos]


def steps_of(expressions: Sequence[Sequence[int]], batch_size: int, seed: int, epoch: int) -> list[Step]:
    """All steps of an epoch. A video's steps follow each other, so that its tracks are read once."""
    generator = np.random.default_rng([seed & 0xFFFFFFFF, epoch])
    steps: list[Step] = []
    for video in generator.permutation(len(expressions)):
        order = generator.permutation(np.asarray(expressions[video], int)).tolist()
        steps += [(int(video), order[i : i + batch_size]) for i in range(0, len(order), batch_size)]
    return steps


def read_steps(videos: Sequence[VideoTracks], steps: Sequence[Step], positive_iou: float) -> Iterator[list[Sample]]:
    """The samples of each step; a video is read when its first step comes, for all of its steps."""
    current, samples = -1, {}
    for index, (video, expressions) in enumerate(steps):
        if video != current:
            ahead = [e for v, step in steps[index:] if v == video for e in step]
            samples = dict(zip(ahead, videos[video].samples(ahead, positive_iou), strict=True))
            current = video
        yield [samples[e] for e in expressions]
