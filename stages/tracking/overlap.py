"""How much the tracks of a video share, over all frames together: which of them show the same object.

Prompts of several frames and sources often give the same object several tracks. Whatever judges, shows or counts
objects takes near-duplicates as one.

Legend: M tracks, T frames, G groups.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Rle, Source, TrackId
from stages.core.state.graph import BUILD_TRACKS, Layout
from stages.core.state.track_file import read_masks

Ious = NDArray[np.float32]


def tube_ious(layout: Layout, video: str, tracks: Sequence[TrackId]) -> Ious:
    """(M, M) Σ_t |A ∩ B| / Σ_t |A ∪ B| of every pair of tracks of a video; see `ious_of`.

    Raises:
        CacheError: a track file is missing or damaged.
    """
    by_source: dict[Source, list[int]] = {}
    for source, row in tracks:
        by_source.setdefault(source, []).append(row)
    rles_of = {
        TrackId(source, row): rles_T
        for source, rows in by_source.items()
        for row, rles_T in zip(rows, read_masks(layout.file(BUILD_TRACKS, video, source), rows), strict=True)
    }
    return ious_of([rles_of[track] for track in tracks])


def ious_of(rles_MT: Sequence[Sequence[Rle]]) -> Ious:
    """(M, M) IoU of tracks as tubes, symmetric. The diagonal is 1; tracks without a pixel share nothing with others."""
    if not rles_MT:
        return np.zeros((0, 0), np.float32)
    area_MT = np.array([masks.area(rles_T) for rles_T in rles_MT], np.float64)
    shared_MM = np.zeros((len(area_MT), len(area_MT)))
    for t, area_M in enumerate(area_MT.T):
        present = np.flatnonzero(area_M)
        rles = [rles_MT[int(i)][t] for i in present]
        iou = masks.iou_matrix(rles, rles)
        both = area_M[present, None] + area_M[None, present]
        shared_MM[np.ix_(present, present)] += np.rint(iou * both / (1 + iou))
    size_M = area_MT.sum(1)
    joined_MM = size_M[:, None] + size_M[None] - shared_MM
    ious_MM: Ious = (shared_MM / np.maximum(joined_MM, 1)).astype(np.float32)
    np.fill_diagonal(ious_MM, 1)
    return ious_MM


def group_duplicates(ious_MM: Ious, above: float) -> NDArray[np.int64]:
    """(M,) the group of every track: tracks of one group share more than `above` with its representative.

    The track with the most near-duplicates takes them as its group, then the next of those that are left; ties go to
    the lower index. Groups are numbered from 0 by their first member.
    """
    near_MM = ious_MM > above
    np.fill_diagonal(near_MM, True)
    groups_M = np.full(len(near_MM), -1)
    while (free_M := groups_M < 0).any():
        counts_M = np.where(free_M, (near_MM & free_M).sum(1), 0)
        members_M = near_MM[counts_M.argmax()] & free_M
        groups_M[members_M] = np.flatnonzero(members_M)[0]
    return np.unique(groups_M, return_inverse=True)[1].astype(np.int64)


def representatives(ious_MM: Ious, groups_M: NDArray[np.int64], above: float) -> NDArray[np.int64]:
    """(G,) of every group the member that shares more than `above` with most of its group; ties go to the lower index."""
    near_MM = (ious_MM > above) & (groups_M[:, None] == groups_M[None])
    np.fill_diagonal(near_MM, True)
    counts_M = near_MM.sum(1)
    groups = range(int(groups_M.max(initial=-1)) + 1)
    return np.array([np.where(groups_M == g, counts_M, 0).argmax() for g in groups], np.int64)
