"""Overlaps of tracks as tubes, and groups of near-duplicates."""

import numpy as np
import pytest
from support.drawn_tracks import tracks_of

from stages.core.media import masks
from stages.core.records import TrackId
from stages.core.state.cache import Stamp
from stages.core.state.graph import BUILD_TRACKS, Layout
from stages.core.state.track_file import write_tracks
from stages.tracking.overlap import group_duplicates, ious_of, representatives, tube_ious


def drawn(rng: np.random.Generator, m: int = 7, t: int = 5) -> np.ndarray:
    """Tracks of blobs that often overlap; the last is never there, others are absent in some frames."""
    masks_MTHW = np.zeros((m, t, 24, 33), bool)
    for k in range(m - 1):
        for frame in range(t):
            y, x = rng.integers(0, 14, 2)
            masks_MTHW[k, frame, y : y + 9, x : x + 12] = rng.random() < 0.8
    return masks_MTHW


def expected(masks_MTHW: np.ndarray) -> np.ndarray:
    flat = masks_MTHW.reshape(len(masks_MTHW), -1)
    ious = np.array([[(a & b).sum() / max((a | b).sum(), 1) for b in flat] for a in flat])
    np.fill_diagonal(ious, 1)
    return ious


def encoded(masks_MTHW: np.ndarray) -> list:
    return [masks.encode_all(masks_THW) for masks_THW in masks_MTHW]


@pytest.mark.parametrize("seed", range(3))
def test_ious_are_those_of_the_decoded_tubes(seed):
    masks_MTHW = drawn(np.random.default_rng(seed))
    ious = ious_of(encoded(masks_MTHW))
    assert ious.dtype == np.float32 and (ious == ious.T).all()
    np.testing.assert_allclose(ious, expected(masks_MTHW), atol=1e-7)


def test_no_track_gives_no_ious():
    assert ious_of([]).shape == (0, 0)
    assert group_duplicates(ious_of([]), 0.8).shape == (0,)


def test_tracks_of_several_sources_come_in_the_order_asked_for(tmp_path):
    masks_MTHW = drawn(np.random.default_rng(5))
    layout = Layout(tmp_path, "shapes", "valid_u")
    parts = {"grid": masks_MTHW[:4], "gdino": masks_MTHW[4:]}
    for source, part in parts.items():
        tracks = tracks_of((24, 33), encoded(part), 1, part.shape[1])
        stamp = Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {})
        write_tracks(layout.file(BUILD_TRACKS, "v", source), stamp, tracks, encoded(part))
    asked = [TrackId("gdino", 1), TrackId("grid", 3), TrackId("grid", 0), TrackId("gdino", 0)]
    np.testing.assert_allclose(tube_ious(layout, "v", asked), expected(masks_MTHW[[5, 3, 0, 4]]), atol=1e-7)


def matrix(n: int, near: dict[tuple[int, int], float]) -> np.ndarray:
    ious = np.eye(n, dtype=np.float32)
    for (i, j), value in near.items():
        ious[i, j] = ious[j, i] = value
    return ious


def test_the_track_with_most_near_ones_gathers_them():
    # 3 is near to 0, 2 and 4; 0 is near to 1 as well, which is left alone.
    ious = matrix(5, {(0, 1): 0.9, (0, 3): 0.9, (2, 3): 0.9, (3, 4): 0.9})
    groups = group_duplicates(ious, 0.8)
    assert groups.tolist() == [0, 1, 0, 0, 0]
    assert representatives(ious, groups, 0.8).tolist() == [3, 1]


def test_ties_go_to_the_lower_index_and_the_limit_itself_is_not_near():
    ious = matrix(4, {(0, 1): 0.8, (2, 3): 0.81})
    groups = group_duplicates(ious, 0.8)
    assert groups.tolist() == [0, 1, 2, 2]
    assert representatives(ious, groups, 0.8).tolist() == [0, 1, 2]


def test_every_member_is_near_its_representative():
    rng = np.random.default_rng(0)
    half = rng.random((30, 30)).astype(np.float32)
    ious = np.maximum(half, half.T)
    groups = group_duplicates(ious, 0.8)
    first = [groups.tolist().index(g) for g in range(groups.max() + 1)]
    assert first == sorted(first)
    for group in range(groups.max() + 1):
        members = np.flatnonzero(groups == group)
        assert any((ious[r, members[members != r]] > 0.8).all() for r in members)
