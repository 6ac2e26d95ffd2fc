"""Recall of tracks: how many of the referred objects have a track that fits, by the number of tracks kept.

Counted are pairs of an expression and an object it refers to; a track fits where its mean IoU with the object (the
labels of the track file) is at least a level. Tracks are kept in an order: as they were tracked, source by source, or by
falling score of a method.

Legend: N tracks of an expression, P pairs of an expression and an object it refers to, K most tracks of any of them.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stages.comparison.video import View
from stages.core.state.track_file import Labels

LEVELS = (0.5, 0.7)
TRACKED = "as tracked"
NEVER = np.iinfo(np.int64).max


@dataclass
class Ranks:
    """For every level, the place (from 1) of the first fitting track of each pair; NEVER where none fits."""

    places: dict[float, list[int]] = field(default_factory=lambda: {level: [] for level in LEVELS})
    longest: int = 0

    def add(self, view: View, expression: int, order_N: NDArray[np.intp]) -> None:
        """Counts an expression's objects; `order_N` are indices into its tracks, in the order of keeping them."""
        self.longest = max(self.longest, len(order_N))
        iou_PN = overlaps(view, expression)
        for level in LEVELS:
            for fits_N in iou_PN[:, order_N] >= level:
                self.places[level].append(int(fits_N.argmax()) + 1 if fits_N.any() else NEVER)

    def curve(self, level: float) -> NDArray[np.float64]:
        """(K,) recall with 1 … K tracks kept; empty where no expression refers to anything."""
        place_P = np.array(self.places[level], np.int64)
        if not len(place_P):
            return np.zeros(0)
        return (place_P[:, None] <= np.arange(1, self.longest + 1)).mean(0)


def has_labels(view: View) -> bool:
    """Whether all track files say how well their tracks fit the annotations."""
    return all(membership.labels is not None for _, _, membership in view.tracks.sources)


def overlaps(view: View, expression: int) -> NDArray[np.float32]:
    """(P, N) mean IoU of an expression's tracks with each object it refers to."""
    keys = view.video.expressions[expression].annotations or ()
    rows_N = view.tracks.tracks_of(expression)
    columns: list[NDArray[np.float32]] = []
    for key in keys:
        parts = [_column(membership.labels, key) for _, _, membership in view.tracks.sources]
        columns.append(np.concatenate(parts)[rows_N])
    return np.array(columns, np.float32).reshape(len(keys), len(rows_N))


def _column(labels: Labels | None, key: str) -> NDArray[np.float32]:
    assert labels is not None
    if not len(labels.iou_NA):
        return np.zeros(0, np.float32)
    return labels.iou_NA[:, labels.annotations.index(key)]
