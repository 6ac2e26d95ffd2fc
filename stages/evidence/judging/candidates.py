"""The candidates of an expression: near-duplicate tracks count as one, and few enough are shown to be told apart.

Legend: M tracks of a video.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stages.core.records import TrackId
from stages.core.state.graph import Layout

MOST_SHOWN = 8  # candidates in one picture or list: with more, numbers are confused and pictures are full


@dataclass(frozen=True)
class Candidate:
    """Tracks that show the same object.

    Attributes:
        shown: the track that stands for all of them.
        members: all of them, in their own order.
        score: the highest of their selector's logits; None = scores are not used.
    """

    shown: TrackId
    members: tuple[TrackId, ...]
    score: float | None


class Grouping:
    """Near-duplicates among the tracks of a video.

    Args:
        tracks: all that any of its expressions may mean.
        same_iou: tracks whose tubes share more are the same; 1 = none are, and no mask is read.
    """

    def __init__(self, layout: Layout, video: str, tracks: Iterable[TrackId], same_iou: float) -> None:
        self.layout, self.video, self.same_iou = layout, video, same_iou
        self.tracks = tuple(dict.fromkeys(tracks))
        self.row = {track: m for m, track in enumerate(self.tracks)}

    @cached_property
    def ious_MM(self) -> NDArray[np.float32]:
        from stages.tracking.overlap import tube_ious

        return tube_ious(self.layout, self.video, self.tracks)

    def candidates(self, scores: Mapping[TrackId, float | None]) -> list[Candidate]:
        """The candidates among the tracks of one expression, in the order of their first tracks."""
        from stages.tracking.overlap import group_duplicates, representatives

        tracks = tuple(scores)
        if self.same_iou == 1:
            return [Candidate(track, (track,), score) for track, score in scores.items()]
        rows = [self.row[track] for track in tracks]
        ious_NN = self.ious_MM[np.ix_(rows, rows)]
        groups_N = group_duplicates(ious_NN, self.same_iou)
        chosen = representatives(ious_NN, groups_N, self.same_iou)
        members = [tuple(tracks[n] for n in np.flatnonzero(groups_N == g)) for g in range(len(chosen))]
        return [
            Candidate(tracks[n], group, _best(scores[track] for track in group))
            for n, group in zip(chosen.tolist(), members, strict=True)
        ]


def _best(scores: Iterable[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return max(known) if known else None


def best_of(candidates: Sequence[Candidate], most: int | None) -> list[Candidate]:
    """The `most` candidates with the highest scores, in their own order; ties go to the earlier one; None = all."""
    if most is None or len(candidates) <= most:
        return list(candidates)
    ranked = sorted(range(len(candidates)), key=lambda n: (-(candidates[n].score or 0.0), n))
    return [candidates[n] for n in sorted(ranked[:most])]


def contexts_of(candidates: Sequence[Candidate], most: int = MOST_SHOWN) -> list[list[Candidate]]:
    """The candidates in lists of at most `most`, of about the same length, in their own order."""
    n_lists = -(-len(candidates) // most)
    return [
        [candidates[n] for n in part] for part in np.array_split(np.arange(len(candidates)), n_lists or 1) if len(part)
    ]
