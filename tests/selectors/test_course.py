"""The `course` selector: courses against hand-made boxes, and the traps of every selector: order, padding, absence."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.samples import COURSE, C, D, sample, score
from support.trainings import selector_section
from torch import Tensor

from stages.core.config.selector_sections import Tda
from stages.selectors.architectures import Architecture
from stages.selectors.batch import Batch, Sample, TrackFeatures, collate
from stages.selectors.course.courses import OWN, PAIR, Courses, Noise, read_courses
from stages.selectors.course.duplicates import compared
from stages.selectors.course.losses import listwise
from stages.selectors.course.model import Course

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
R = COURSE.n_times


def build(seed: int = 3, **model: Any) -> Course:
    network = Architecture("course", COURSE.model_copy(update=model), Tda(alpha=0.0, temperature=1.0)).build(C, D, seed)
    assert isinstance(network, Course)
    return network.eval()


@pytest.fixture(scope="module")
def model() -> Course:
    return build()


def detected(s: Sample, seed: int = 0) -> Sample:
    """With a detector's scores for some of the tracks."""
    rng = np.random.default_rng(seed)
    said_N2 = np.where(rng.random((len(s), 1)) < 0.6, rng.random((len(s), 2)), np.nan)
    return replace(s, detections_N2=said_N2.astype(np.float32))


def moving(*courses: list[tuple[float, float]], side: float = 0.1, absent: tuple[int, ...] = ()) -> Sample:
    """Tracks whose centres go through the given points, one frame each; the first is absent in some frames."""
    centre_MT2 = np.array(courses, np.float32)
    m, t = centre_MT2.shape[:2]
    boxes_MT4 = np.concatenate([centre_MT2 - side / 2, centre_MT2 + side / 2], -1).astype(np.float32)
    presence_MT = np.full((m, t), 4, np.float32)
    presence_MT[0, list(absent)] = -4
    boxes_MT4[presence_MT < 0] = 0
    area_MT = np.where(presence_MT > 0, side**2, 0).astype(np.float32)
    tracks = TrackFeatures(np.zeros((m, t, C), np.float32), presence_MT, area_MT, np.zeros((m, t), bool), boxes_MT4)
    return Sample(tracks, np.arange(m), np.zeros((2, D), np.float32), np.zeros(D, np.float32))


def courses_of(s: Sample, n_times: int = R) -> tuple[Tensor, Tensor]:
    """(N, R, OWN) and (N, N, R, PAIR)."""
    courses: Courses = read_courses(collate([s]), n_times, None)
    own_NRK = courses.own_VNF[0, :, :-1].unflatten(-1, (n_times, OWN))
    return own_NRK, courses.pair_VNNP[0].unflatten(-1, (n_times, PAIR))


# ------------------------------------------------------------- what a course says


def test_a_course_says_where_a_track_is_at_times_spread_over_the_video() -> None:
    own_NRK, _ = courses_of(moving([(0.1 * t, 0.5) for t in range(10)]), n_times=4)
    torch.testing.assert_close(own_NRK[0, :, 0], 2 * torch.tensor([0.0, 0.3, 0.6, 0.9]) - 1)
    assert own_NRK[0, :, 1].abs().max() < 1e-6 and (own_NRK[0, :, 2] == 1).all()


def test_the_same_motion_in_a_longer_video_gives_the_same_places() -> None:
    short, long = ([(t / (n - 1), 0.2) for t in range(n)] for n in (8, 29))
    torch.testing.assert_close(courses_of(moving(short))[0][..., :2], courses_of(moving(long))[0][..., :2])


def test_a_track_out_of_sight_stays_where_it_was_last_seen() -> None:
    line = [(t / 7, 0.5) for t in range(8)]
    own_NRK, _ = courses_of(moving(line, absent=(0, 1, 5, 6, 7)))
    torch.testing.assert_close(own_NRK[0, :, 0], 2 * torch.tensor([2, 2, 2, 3, 4, 4, 4, 4]) / 7 - 1)
    assert own_NRK[0, :, 2].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    assert not own_NRK[0, [0, 1, 5, 6, 7], 3:6].any(), "no size where it is not seen"


def test_a_pair_says_how_one_is_seen_from_the_other() -> None:
    _, pair_NNRK = courses_of(moving([(0.2, 0.5)] * 8, [(0.6, 0.4)] * 8))
    torch.testing.assert_close(pair_NNRK[0, 1, 0, :2], 3 * torch.tensor([0.4, -0.1]))
    torch.testing.assert_close(pair_NNRK[0, 1], pair_NNRK[1, 0] * torch.tensor([-1, -1, 1, 1]))
    assert not pair_NNRK[0, 0, :, :3].any()


def test_a_camera_that_moves_changes_plain_places_but_not_steady_ones() -> None:
    still = [[(0.3, 0.3)] * 8, [(0.6, 0.4)] * 8, [(0.3 + 0.02 * t, 0.5) for t in range(8)]]
    panned = [[(x + 0.03 * t, y) for t, (x, y) in enumerate(course)] for course in still]
    (a_NRK, _), (b_NRK, _) = courses_of(moving(*still)), courses_of(moving(*panned))
    torch.testing.assert_close(a_NRK[..., 8:], b_NRK[..., 8:])
    assert (a_NRK[..., :2] - b_NRK[..., :2]).abs().max() > 0.1


def test_noise_changes_places_sizes_and_sight_and_nothing_else() -> None:
    batch = collate([sample(5, 30, 4)])
    plain, noisy = (read_courses(batch, R, noise) for noise in (None, Noise(0.05, 0.2, 0.3)))
    same, nothing = read_courses(batch, R, Noise(0.0, 0.0, 0.0)), (plain.own_VNF != noisy.own_VNF).float().mean()
    torch.testing.assert_close(same.own_VNF, plain.own_VNF)
    assert nothing > 0.3 and torch.equal(plain.own_VNF[..., -1], noisy.own_VNF[..., -1])


# ------------------------------------------------------------- order, padding, absence


def test_permuting_tracks_permutes_scores(model: Course) -> None:
    s = detected(sample(6, 20, 5))
    order = np.array([3, 0, 5, 1, 4, 2])
    assert s.detections_N2 is not None
    permuted_N = score(model, [replace(s, rows_N=order, detections_N2=s.detections_N2[order])])[0]
    torch.testing.assert_close(permuted_N, score(model, [s])[0][torch.from_numpy(order)], **TOLERANCE)
    assert permuted_N.std() > 1e-3, "tracks are told apart"


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_no_padding_whatever_leaks(shapes: list[tuple[int, int, int]], absent: float) -> None:
    """Also for one frame, and where no track is visible at all; with a detector for some of the samples."""
    samples = [sample(*shape, seed=i, absent=absent if i == 0 else 0.3) for i, shape in enumerate(shapes)]
    samples = [detected(s, i) if i % 2 else s for i, s in enumerate(samples)]
    network = build()
    for together_N, s in zip(score(network, samples), samples, strict=True):
        torch.testing.assert_close(together_N, score(network, [s])[0], **TOLERANCE)


def test_sentences_of_a_video_score_alike_whether_they_share_it_or_not(model: Course) -> None:
    s = sample(4, 10, 5)
    others = [sample(4, 10, w, seed=9, of=s.tracks) for w in (3, 7)]
    for shared_N, alone in zip(score(model, [s, *others]), [s, *others], strict=True):
        torch.testing.assert_close(shared_N, score(model, [alone])[0], **TOLERANCE)


def test_absent_frames_say_nothing_but_that_they_are_absent(model: Course) -> None:
    s = sample(4, 12, 5)
    other = s.tracks.tokens_MTC.copy()
    other[s.tracks.presence_MT <= 0] = 7.0
    changed = replace(s, tracks=replace(s.tracks, tokens_MTC=other))
    torch.testing.assert_close(score(model, [changed])[0], score(model, [s])[0], atol=0, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 2), (1, 8, 3), (4, 6, 5)])
def test_nothing_visible_gives_finite_scores_and_gradients(shape: tuple[int, int, int]) -> None:
    s = sample(*shape)
    s = replace(s, tracks=replace(s.tracks, presence_MT=np.full(shape[:2], -3, np.float32)))
    network = build().train()
    batch = collate([s, detected(sample(3, 5, 2, seed=1))])
    losses = network.losses(network(batch), batch, selector_section("course"))
    assert losses.total_B.isfinite().all()
    losses.total_B.sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("change", ["words", "boxes", "tokens", "detections"])
def test_everything_that_it_sees_matters(model: Course, change: str) -> None:
    s = detected(sample(4, 10, 5))
    assert s.detections_N2 is not None
    changed = {
        "words": replace(s, words_WD=-s.words_WD),
        "boxes": replace(s, tracks=replace(s.tracks, boxes_MT4=s.tracks.boxes_MT4[:, ::-1])),
        "tokens": replace(s, tracks=replace(s.tracks, tokens_MTC=-s.tracks.tokens_MTC)),
        "detections": replace(s, detections_N2=s.detections_N2[::-1]),
    }[change]
    assert (score(model, [s])[0] - score(model, [changed])[0]).abs().max() > 1e-4


def test_without_pointers_and_detector_it_does_not_see_them() -> None:
    network, s = build(pointers=False, detector=False), detected(sample(4, 10, 5))
    assert not network.needs_detections and build().needs_detections
    blind = replace(s, detections_N2=None, tracks=replace(s.tracks, tokens_MTC=-s.tracks.tokens_MTC))
    torch.testing.assert_close(score(network, [blind])[0], score(network, [s])[0], atol=0, rtol=0)


# ------------------------------------------------------------- losses


def labelled(*labels: list[bool]) -> Batch:
    samples = [replace(sample(len(row), 4, 3, seed=i), labels_N=np.array(row)) for i, row in enumerate(labels)]
    return collate(samples)


def test_listwise_is_a_softmax_with_none_as_a_member() -> None:
    batch = labelled([True, False, True], [False, False])
    logits_BN = torch.tensor([[1.0, 2.0, 0.5], [-1.0, 3.0, 99.0]])
    e = logits_BN.exp()
    expected = -torch.log(torch.stack([(e[0, 0] + e[0, 2]) / (1 + e[0].sum()), 1 / (1 + e[1, :2].sum())]))
    torch.testing.assert_close(listwise(logits_BN, batch), expected)


def test_what_is_withheld_in_training_is_seen_when_scoring() -> None:
    """With `detector_missed` 1 a training never sees detections; scoring always does."""
    network, s = build(detector_missed=1.0, place_noise=0.0, size_noise=0.0, missed=0.0, dropout=0.0), sample(4, 10, 5)
    batch, blind = collate([detected(s)]), collate([s])
    network.train()
    torch.testing.assert_close(network(batch).logits_BN, network(blind).logits_BN)
    network.eval()
    assert (network(batch).logits_BN - network(blind).logits_BN).abs().max() > 1e-4


# ------------------------------------------------------------- near-duplicates


def test_a_track_is_compared_with_itself_and_one_track_of_every_other_object() -> None:
    here, there = [(0.2, 0.5)] * 6, [(0.7, 0.5)] * 6
    shaken, shifted = [(0.205, 0.5)] * 6, [(0.195, 0.5)] * 6
    shown_NN = compared(collate([moving(here, shaken, there, shifted)]))[0]
    expected_NN = torch.eye(4, dtype=torch.bool)
    expected_NN[[0, 1, 3], 2] = True  # all three see the other object
    assert torch.equal(shown_NN[[0, 1, 3]], expected_NN[[0, 1, 3]])
    assert shown_NN[2].tolist() == [True, False, True, False], "one of the doubles alone"


def test_doubles_change_no_other_score() -> None:
    network, courses = build(pointers=False, detector=False), [[(0.2, 0.2)] * 6, [(0.7, 0.5)] * 6, [(0.4, 0.8)] * 6]
    alone_N = score(network, [moving(*courses)])[0]
    with_doubles_N = score(network, [moving(*courses, courses[1], courses[1])])[0]
    torch.testing.assert_close(with_doubles_N[:3], alone_N, **TOLERANCE)
    torch.testing.assert_close(with_doubles_N[3:], alone_N[[1, 1]], **TOLERANCE)
