"""The order of training, determined by the seed and the epoch alone: groups of a video's sentences, packed by size.

A group shares its video's tracks and whatever does not depend on the words. A step packs groups of similar size,
so that little of a batch is padding; the order of the sizes is random.
"""

from collections.abc import Sequence

import numpy as np

from stages.core.config.selector_sections import SelectorTraining
from stages.selectors.samples import VideoTracks

# Index of a video, and of some of its sentences (see `VideoTracks.sentences`).
Group = tuple[int, list[int]]
STATEMENTS = 0x57A7  # sets their random stream apart from those of the order and of foreign tracks
WINDOW = 16  # steps whose groups are sorted by size together


def known_expressions(tracks: VideoTracks) -> list[int]:
    """Indices of the expressions whose truth is known."""
    return [
        e
        for e, expression in enumerate(tracks.video.expressions)
        if expression.annotations is not None and expression.has_word
    ]


def drawn_statements(videos: Sequence[VideoTracks], config: SelectorTraining, epoch: int) -> list[list[int]]:
    """Indices of at most `config.statements` statements of each video that has a track to choose, drawn for the epoch."""
    drawn = []
    for number, tracks in enumerate(videos):
        first, n = len(tracks.video.expressions), len(tracks.video.statements)
        most = min(n, config.statements)
        if most and len(tracks.tracks_of(first)):
            generator = np.random.default_rng([config.seed & 0xFFFFFFFF, epoch, number, STATEMENTS])
            drawn.append((first + generator.permutation(n)[:most]).tolist())
        else:
            drawn.append([])
    return drawn


def trainable(videos: Sequence[VideoTracks]) -> list[list[int]]:
    """The expressions of each video that have a track to choose and a known truth."""
    return [[e for e in known_expressions(tracks) if len(tracks.tracks_of(e))] for tracks in videos]


def steps_of(
    expressions: Sequence[Sequence[int]], sizes: Sequence[int], config: SelectorTraining, epoch: int
) -> list[list[Group]]:
    """All steps of an epoch: every sentence once, at most `batch_size` per step.

    Args:
        expressions: of each video, and its statements.
        sizes: tokens of each video.
    """
    generator = np.random.default_rng([config.seed & 0xFFFFFFFF, epoch])
    most = min(config.expressions_per_video, config.batch_size)
    groups: list[Group] = []
    for video, known in enumerate(expressions):
        order = generator.permutation(np.asarray(known, int)).tolist()
        groups += [(video, order[i : i + most]) for i in range(0, len(order), most)]
    shuffled = [groups[i] for i in generator.permutation(len(groups))]
    window = WINDOW * -(-config.batch_size // most)
    steps: list[list[Group]] = []
    for start in range(0, len(shuffled), window):
        packed = _pack(sorted(shuffled[start : start + window], key=lambda group: sizes[group[0]]), config.batch_size)
        steps += [packed[i] for i in generator.permutation(len(packed))]
    return steps


def share(groups: Sequence[Group], sizes: Sequence[int], rank: int, n_ranks: int) -> list[Group]:
    """This process' groups of a step: the largest are dealt first, each to the process with least work."""
    load, mine = [0] * n_ranks, []
    for i in sorted(range(len(groups)), key=lambda i: (-_cost(groups[i], sizes), i)):
        taker = load.index(min(load))
        load[taker] += _cost(groups[i], sizes)
        if taker == rank:
            mine.append(i)
    return [groups[i] for i in sorted(mine)]


def foreign_rows(tracks: VideoTracks, expression: int, count: int, seed: Sequence[int]) -> np.ndarray:
    """At most `count` rows of tracks that belong only to other expressions of the video: hard negatives."""
    everyone = [tracks.tracks_of(e) for e in range(len(tracks.video.expressions))]
    others = np.setdiff1d(np.concatenate(everyone), tracks.tracks_of(expression))
    return np.random.default_rng(seed).permutation(others)[:count]


def _pack(groups: Sequence[Group], batch_size: int) -> list[list[Group]]:
    steps: list[list[Group]] = []
    room = 0
    for group in groups:
        if len(group[1]) > room:
            steps.append([])
            room = batch_size
        steps[-1].append(group)
        room -= len(group[1])
    return steps


def _cost(group: Group, sizes: Sequence[int]) -> int:
    return len(group[1]) * sizes[group[0]]
