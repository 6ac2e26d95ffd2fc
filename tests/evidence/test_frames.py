"""Which frames are shown: evenly spread, keyframes by both qualities, clips, and packed pictures that can be read back."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.evidence.frames.choose import bins, choose_frames, keyframes, uniform
from stages.evidence.frames.packing import PackedPicture, pack, tiles_of
from stages.evidence.frames.quality import quality, similarity, softmax_over
from stages.evidence.frames.settings import FrameSettings
from stages.evidence.frames.sightings import Sightings, visible
from stages.selectors.presence import measured_presence

SIZE = (48, 64)
LENGTHS = (1, 11, 12, 22)


def settings(**change: Any) -> FrameSettings:
    usual = {
        "mode": "keyframes",
        "count": 4,
        "clips": 3,
        "grid": 2,
        "quality": "balanced",
        "object_temperature": 1.0,
        "similarity_temperature": 0.1,
        "similarity_weight": 0.0,
    }
    return FrameSettings.model_validate(usual | change)


def sightings(object_NT, iou_NT=None, area_NT=None, tokens_NTC=None) -> Sightings:
    object_NT = np.asarray(object_NT, np.float32)
    iou_NT = np.ones_like(object_NT) if iou_NT is None else np.asarray(iou_NT, np.float16)
    area_NT = np.full(object_NT.shape, 50, np.uint32) if area_NT is None else np.asarray(area_NT, np.uint32)
    tokens_NTC = (
        np.ones((*object_NT.shape, 2), np.float32) if tokens_NTC is None else np.asarray(tokens_NTC, np.float32)
    )
    return Sightings(object_NT, iou_NT, area_NT, visible(object_NT, area_NT, SIZE), tokens_NTC)


def select(scores, tracks: Sightings, count: int, **change: Any) -> list[int]:
    return keyframes(tracks, quality(tracks, settings(**change)), scores, count)


# ---------------------------------------------------------------- stretches of time


@pytest.mark.parametrize(
    ("n_frames", "count", "expected"),
    [
        (1, 4, [0]),
        (11, 4, [1, 4, 7, 9]),
        (12, 4, [1, 4, 7, 10]),
        (22, 4, [2, 8, 14, 19]),
        (22, 1, [10]),
        (3, 4, [0, 1, 2]),
    ],
)
def test_uniform_frames_are_the_middles_of_equal_stretches(n_frames, count, expected):
    assert uniform(n_frames, count) == expected


@given(st.integers(1, 60), st.integers(1, 30))
def test_stretches_cover_the_video_once_and_differ_by_one_frame_at_most(n_frames, count):
    stretches = bins(n_frames, count)
    assert [t for stretch in stretches for t in stretch] == list(range(n_frames))
    assert len(stretches) == min(count, n_frames)
    assert max(map(len, stretches)) - min(map(len, stretches)) <= 1 and min(map(len, stretches)) >= 1


# ---------------------------------------------------------------- keyframes


def test_a_keyframe_of_each_stretch_where_the_object_score_is_highest():
    assert select([0.0], sightings([[1, 3, 2, 5, 1, 4]]), 2) == [1, 3]
    assert select([0.0], sightings([[1, 3, 2, 5, 1, 4]]), 3) == [1, 3, 5]
    assert select([0.0], sightings([[1, 3]]), 4) == [0, 1]  # fewer frames than stretches


def test_the_frames_suit_the_tracks_the_selector_believes_in():
    tracks = sightings([[9, 0.1, 0.1], [0.1, 0.1, 9]])
    assert select([5.0, 0.0], tracks, 1) == [0]
    assert select([0.0, 5.0], tracks, 1) == [2]
    # Weak in one frame, both fair in another: comparing needs both.
    assert select([0.0, 0.0], sightings([[9, 2, -9], [-9, 2, 9]]), 1) == [1]


def test_without_scores_all_tracks_weigh_the_same():
    tracks = sightings([[9, 0.1, 0.1], [0.1, 0.1, 8], [0.1, 0.1, 8]])
    assert select(None, tracks, 1) == select([3.0, 3.0, 3.0], tracks, 1) == [2]
    assert select([9.0, 0.0, 0.0], tracks, 1) == [0]


def test_absent_and_specklike_tracks_do_not_count():
    assert select([0.0], sightings([[8, 0.5, -8, -8]], area_NT=[[0, 9, 99, 99]]), 2) == [1]
    assert select([0.0], sightings([[-1, 0]]), 2) == []
    assert not visible(np.array([[5.0]]), np.array([[46]]), (720, 1280)).any()
    assert visible(np.array([[5.0]]), np.array([[47]]), (720, 1280)).all()


def test_ties_are_settled_by_iou_then_area_then_time():
    flat = [[2, 2, 2, 2]]
    assert select([0.0], sightings(flat, [[0.5, 0.5, 0.9, 0.5]], [[9, 90, 9, 9]]), 1) == [2]
    assert select([0.0], sightings(flat, [[0.5, 0.9, 0.9, 0.5]], [[9, 9, 90, 99]]), 1) == [2]
    assert select([0.0], sightings(flat), 1) == [0]


def test_faithful_is_two_softmaxes_over_the_visible_frames():
    tokens = [[[1, 0], [1, 0], [0, 1], [5, 5]]]
    tracks = sightings([[1.0, 3.0, 2.0, -4.0]], tokens_NTC=tokens)
    mean = np.array([2 / 3, 1 / 3])  # of the visible frames
    cosine = np.array([2, 2, 1]) / 3 / np.linalg.norm(mean)
    powers = [np.exp(row) for row in (np.array([1.0, 3.0, 2.0]), cosine)]
    expected = sum(power / power.sum() for power in powers)
    assert quality(tracks, settings(quality="faithful"))[0] == pytest.approx([*expected, 0])


def test_balanced_weighs_the_similarity_by_eta_whatever_the_tracks_length():
    tokens = [[[1, 0], [1, 0], [0, 1], [5, 5]]]
    tracks = sightings([[1.0, 3.0, 2.0, -4.0]], tokens_NTC=tokens)
    change = {"object_temperature": 2.0, "similarity_temperature": 0.5, "similarity_weight": 0.3}
    power = np.exp(similarity(tracks)[0, :3] / 0.5)
    expected = 1 / (1 + np.exp(-np.array([1.0, 3.0, 2.0]) / 2)) + 0.3 * 3 * power / power.sum()
    assert quality(tracks, settings(**change))[0] == pytest.approx([*expected, 0])
    for n_frames in LENGTHS:  # tokens that are all alike add η to every frame
        flat = quality(sightings([[2.0] * n_frames]), settings(**change))
        assert flat == pytest.approx(np.full((1, n_frames), 1 / (1 + np.exp(-1)) + 0.3))


def test_a_frame_that_looks_like_the_track_wins_where_object_scores_agree():
    tokens = [[[0, 1], [1, 0], [1, 0.1], [1, 0]]]
    tracks = sightings([[2.0, 2.0, 2.0, 2.0]], tokens_NTC=tokens)
    assert select([0.0], tracks, 1, quality="faithful") == [2]
    assert select([0.0], tracks, 1, similarity_weight=0.5) == [2]


def test_tracks_without_tokens_or_never_visible_give_no_nan():
    tracks = sightings([[2.0, 1.0], [-3.0, -3.0]], tokens_NTC=np.zeros((2, 2, 0)))
    for kind in ("faithful", "balanced"):
        q_NT = quality(tracks, settings(quality=kind, similarity_weight=1.0))
        assert np.isfinite(q_NT).all() and (q_NT[1] == 0).all() and q_NT[0, 0] > q_NT[0, 1] > 0
    assert (softmax_over(np.array([[1.0, 2.0]]), np.array([[False, False]])) == 0).all()


@pytest.mark.parametrize("kind", ["faithful", "balanced"])
@pytest.mark.parametrize("n_frames", [11, 12, 22])
def test_the_prompted_frames_dummy_score_never_wins(kind, n_frames):
    """SAM2 writes ±10 where a mask prompt began a track; that says nothing about how well it is seen there."""
    rng = np.random.default_rng(n_frames)
    score_NT = rng.uniform(1, 4, (3, n_frames)).astype(np.float32)
    score_NT[np.arange(3), [0, 4, n_frames - 1]] = 10.0
    prompted_NT = score_NT == 10.0
    tracks = sightings(measured_presence(score_NT, prompted_NT))
    for n in range(3):
        alone = tracks.object_NT[n : n + 1]
        one = sightings(alone)
        assert not prompted_NT[n, select([0.0], one, 1, quality=kind)].any()
        assert score_NT[n, select([0.0], one, 1, quality=kind)] == score_NT[n, ~prompted_NT[n]].max()


@given(
    scores=st.lists(st.floats(-30, 30), min_size=1, max_size=4),
    n_frames=st.integers(1, 12),
    count=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_keyframes_are_ordered_visible_and_the_best_of_their_stretch(scores, n_frames, count, seed):
    rng = np.random.default_rng(seed)
    tracks = sightings(rng.normal(0, 4, (len(scores), n_frames)))
    chosen = select(scores, tracks, count)
    assert chosen == sorted(set(chosen)) and len(chosen) <= count
    assert all(tracks.visible_NT[:, t].any() for t in chosen)
    weight_N = np.exp(np.array(scores) - max(scores))
    value_T = (weight_N[:, None] * tracks.visible_NT / (1 + np.exp(-tracks.object_NT.astype(float)))).sum(0)
    for part in bins(n_frames, count):
        best = [
            t
            for t in part
            if tracks.visible_NT[:, t].any() and value_T[t] >= value_T[part].max() - 1e-9 * value_T.max()
        ]
        assert not best or set(best) & set(chosen)


# ---------------------------------------------------------------- modes


@pytest.mark.parametrize("n_frames", LENGTHS)
@pytest.mark.parametrize("mode", ["uniform", "seen", "keyframes", "packed", "clips"])
def test_every_mode_gives_ordered_frames_inside_their_stretch(mode, n_frames):
    tracks = sightings(np.random.default_rng(n_frames).uniform(1, 4, (3, n_frames)))
    stretches = choose_frames(settings(mode=mode), tracks, None)
    assert len(stretches) == (min(3, n_frames) if mode == "clips" else 1)
    assert [t for stretch in stretches for t in stretch.window] == list(range(n_frames))
    for stretch in stretches:
        assert list(stretch.shown) == sorted(set(stretch.shown)) and set(stretch.shown) <= set(stretch.window)
        assert len(stretch.shown) == min(4, len(stretch.window))
    if mode == "uniform":
        assert list(stretches[0].shown) == uniform(n_frames, 4)


def test_a_clip_in_which_nothing_is_seen_is_left_out():
    tracks = sightings([[3.0] * 4 + [-3.0] * 4 + [3.0] * 4])
    assert [stretch.window for stretch in choose_frames(settings(mode="clips"), tracks, None)] == [
        range(4),
        range(8, 12),
    ]
    for mode in ("uniform", "seen", "keyframes"):
        assert choose_frames(settings(mode=mode), sightings([[-3.0] * 5]), None) == []


def test_seen_frames_are_evenly_spread_over_the_time_in_which_any_track_is_visible():
    tracks = sightings([[-3.0] * 4 + [3.0] * 4 + [-3.0] * 8, [-3.0] * 12 + [3.0] * 4])
    shown = {count: choose_frames(settings(mode="seen", count=count), tracks, None)[0].shown for count in (2, 4, 9)}
    assert shown == {2: (5, 13), 4: (4, 6, 12, 14), 9: (4, 5, 6, 7, 12, 13, 14, 15)}


def test_clips_are_chosen_from_as_videos_of_their_own():
    tracks = sightings([[1.0, 2, 9, 1, 8, 1, 1, 1, 7]])
    shown = [stretch.shown for stretch in choose_frames(settings(mode="clips", count=1), tracks, None)]
    assert shown == [(2,), (4,), (8,)]


# ---------------------------------------------------------------- packing


@pytest.mark.parametrize("n_frames", LENGTHS)
@pytest.mark.parametrize(("clips", "grid"), [(1, 2), (2, 2), (4, 3)])
def test_tiles_are_the_other_frames_of_the_anchors_stretch(n_frames, clips, grid):
    seen = []
    for window in bins(n_frames, clips):
        anchor = window[len(window) // 2]
        tiles = tiles_of(anchor, n_frames, clips, grid)
        assert tiles == sorted(set(tiles)) and set(tiles) <= set(window) - {anchor}
        assert len(tiles) == min(grid**2, len(window) - 1)
        seen += [anchor, *tiles]
    assert len(seen) == len(set(seen))


def packed(n: int, size: tuple[int, int], side: int, grid: int) -> PackedPicture:
    """Each frame one grey, brighter with its number."""
    return pack(lambda t: np.full((*size, 3), 10 + 20 * t, np.uint8), range(n), size, side, grid)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (50, 50), (37, 91)])
@pytest.mark.parametrize("grid", [2, 3])
def test_the_index_map_of_a_packed_picture_inverts(size, grid):
    picture = packed(grid**2 - 1, size, 97, grid)
    for t in range(grid**2 - 1):
        for y, x in [(0.0, 0.0), (size[0] / 2, size[1] / 3), (size[0] - 1, size[1] - 1)]:
            place = picture.from_frame(t, y, x)
            assert place is not None
            frame, back_y, back_x = picture.to_frame(*place) or (-1, 0, 0)
            assert frame == t and (back_y, back_x) == pytest.approx((y, x))
            assert (picture.pixels_HW3[int(place[0]), int(place[1])] == 10 + 20 * t).all()
    assert picture.from_frame(grid**2, 0, 0) is None  # not in it
    assert picture.to_frame(picture.pixels_HW3.shape[0] - 1, picture.pixels_HW3.shape[1] - 1) is None  # an empty cell


def test_tiles_keep_the_aspect_and_do_not_touch():
    picture = packed(4, (48, 64), 128, 2)
    assert picture.pixels_HW3.shape == (96, 128, 3)
    for cell in picture.cells:
        assert cell.width / cell.height == pytest.approx(4 / 3, abs=0.05)
    for left, right in pairwise(picture.cells[:2]):
        assert left.left + left.width < right.left
    assert (picture.pixels_HW3[:, 64] == 0).all()
