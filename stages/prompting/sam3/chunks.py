"""A long video in chunks that overlap, and the tracks of neighbouring chunks joined into one.

Pure logic. Two tracks are one object where their masks agree in the frames that both chunks show; each has one partner at
most, the pairs being those with the largest overlaps in sum.

Legend: M and N tracks of two chunks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from stages.core.media import masks
from stages.core.records import Rle
from stages.prompting.sam3.suppression import kept

Masks = Mapping[int, Rle]  # by frame, where the object is seen


@dataclass(eq=False)
class Track:
    """One object of a phrase.

    Attributes:
        masks: frame → its mask; frames in which it is not seen are left out.
        score: the surest of its instances.
    """

    masks: dict[int, Rle] = field(default_factory=dict)
    score: float = 0.0


def chunks_of(n_frames: int, length: int, overlap: int) -> list[range]:
    """Ranges of frames that cover a video, each sharing `overlap` frames with the one before."""
    assert 0 < overlap < length
    starts = range(0, max(1, n_frames - overlap), length - overlap)
    return [range(start, min(start + length, n_frames)) for start in starts]


def tube_iou(one: Masks, other: Masks, frames: Sequence[int]) -> float:
    """Shared over joint pixels of two tracks in some frames; 0 where neither is seen."""
    shared = joint = 0
    for frame in frames:
        seen = [track[frame] for track in (one, other) if frame in track]
        areas = [int(area) for area in masks.area(seen)]
        union = int(masks.area([masks.union(seen, seen[0]["size"])])[0]) if seen else 0
        shared, joint = shared + sum(areas) - union, joint + union
    return shared / joint if joint else 0.0


def join(before: Sequence[Track], after: Sequence[Track], shared: Sequence[int], join_iou: float) -> list[Track]:
    """The tracks of a video up to a chunk, with the chunk's: the partners' as one, then those that begin in it.

    In the shared frames a joined track keeps its earlier masks: they were followed for longer.

    Args:
        shared: the frames that both show.
    """
    iou_MN = np.array([[tube_iou(a.masks, b.masks, shared) for b in after] for a in before]).reshape(
        len(before), len(after)
    )
    partner = _partners(iou_MN, join_iou)
    for m, n in partner.items():
        before[m].masks = dict(sorted({**after[n].masks, **before[m].masks}.items()))
        before[m].score = max(before[m].score, after[n].score)
    fresh = [track for n, track in enumerate(after) if n not in partner.values()]
    return [*before, *fresh]


def _partners(iou_MN: NDArray[np.float64], join_iou: float) -> dict[int, int]:
    rows, columns = linear_sum_assignment(np.where(iou_MN >= join_iou, iou_MN, 0), maximize=True)
    return {int(m): int(n) for m, n in zip(rows, columns, strict=True) if iou_MN[m, n] >= max(join_iou, 1e-9)}


def without_doubles(tracks: Sequence[Track], iou: float) -> list[Track]:
    """Tracks that share no more than `iou` with a surer one, in their order."""
    seen = [track for track in tracks if track.masks]
    frames = [sorted(track.masks) for track in seen]
    iou_NN = np.zeros((len(seen), len(seen)))
    for i in range(len(seen)):
        for j in range(i):
            together = sorted({*frames[i], *frames[j]})
            iou_NN[i, j] = iou_NN[j, i] = tube_iou(seen[i].masks, seen[j].masks, together)
    chosen = kept(iou_NN, np.array([track.score for track in seen]), iou)
    return [seen[i] for i in sorted(chosen)]
