"""Which sentences a step learns from: in another order every epoch, some of a video together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Group:
    """Sentences of a video that share its images: the video's index, and indices of its expressions."""

    video: int
    expressions: tuple[int, ...]


def steps_of(expressions: Sequence[Sequence[int]], batch: int, together: int, key: Sequence[int]) -> list[list[Group]]:
    """The steps of an epoch: every sentence once.

    Args:
        expressions: of each video, those to learn from.
        batch: sentences of a step, at most; only where videos end are there fewer.
        together: sentences of a video in a step, at most.
        key: decides the order.
    """
    rng = np.random.default_rng([number & 0xFFFFFFFF for number in key])
    size = min(batch, together)
    groups = []
    for video, known in enumerate(expressions):
        mixed = rng.permutation(np.asarray(known, np.int64)).tolist()
        groups += [Group(video, tuple(mixed[i : i + size])) for i in range(0, len(mixed), size)]
    steps: list[list[Group]] = []
    free = 0
    for i in rng.permutation(len(groups)):
        group = groups[i]
        if len(group.expressions) > free:
            steps.append([])
            free = batch
        steps[-1].append(group)
        free -= len(group.expressions)
    return steps
