"""The `soc` selector: its steps against their formulas, and its traps: order, padding, absence, empty softmaxes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.samples import SOC as MODEL
from support.samples import C, D, sample, score, tracks
from support.trainings import selector_section
from torch import Tensor

from stages.core.config.selector_sections import Tda
from stages.selectors.architectures import Architecture
from stages.selectors.batch import Batch, Sample, collate
from stages.selectors.soc.losses import contrast, contrastive, gate_loss
from stages.selectors.soc.model import Soc, match_entropy, running_mean
from stages.selectors.soc.query_fusion import SHARPNESS, WALK, fuse, token_shares, walk

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def build(alpha: float = 0.0, seed: int = 3) -> Soc:
    model = Architecture("soc", MODEL, Tda(alpha=alpha, temperature=1.0)).build(C, D, seed)
    assert isinstance(model, Soc)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Soc:
    return build()


# ------------------------------------------------------------- order, padding, absence


def test_permuting_tracks_permutes_scores(model: Soc) -> None:
    s = sample(6, 20, 5)
    order = np.array([3, 0, 5, 1, 4, 2])
    found_N = score(model, [replace(s, rows_N=order)])[0]
    torch.testing.assert_close(found_N, score(model, [s])[0][torch.from_numpy(order)], **TOLERANCE)
    assert found_N.std() > 1e-3, "tracks are told apart"


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_a_padded_batch_scores_as_each_sample_alone(alpha: float) -> None:
    model = build(alpha)
    shapes = [(4, 25, 6), (2, 9, 3), (6, 17, 8), (3, 1, 4), (1, 30, 1), (1, 1, 1)]
    samples = [sample(*shape, seed=i) for i, shape in enumerate(shapes)]
    for together_N, s in zip(score(model, samples), samples, strict=True):
        torch.testing.assert_close(together_N, score(model, [s])[0], **TOLERANCE)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_no_padding_whatever_leaks(shapes: list[tuple[int, int, int]], absent: float) -> None:
    """In float64, where nothing is rounding; also where no track is visible at all."""
    model = build().double()
    samples = [sample(*shape, seed=i, absent=absent if i == 0 else 0.3) for i, shape in enumerate(shapes)]
    together_BN = model(in_double(collate(samples))).logits_BN
    for i, s in enumerate(samples):
        alone_N = model(in_double(collate([s]))).logits_BN[0]
        torch.testing.assert_close(together_BN[i, : len(s)], alone_N, atol=1e-9, rtol=1e-9)
        assert not together_BN[i, len(s) :].any()


def in_double(batch: Batch) -> Batch:
    return Batch(**{name: x.double() if x.is_floating_point() else x for name, x in vars(batch).items()})


def test_absent_frames_say_nothing_but_that_they_are_absent(model: Soc) -> None:
    """SAM2 writes one constant token where an object is absent: whatever stands there, scores are the same."""
    s = sample(4, 12, 5)
    other = s.tracks.tokens_MTC.copy()
    other[s.tracks.presence_MT <= 0] = 7.0
    changed = replace(s, tracks=replace(s.tracks, tokens_MTC=other))
    torch.testing.assert_close(score(model, [changed])[0], score(model, [s])[0], atol=0, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 2), (1, 8, 3), (4, 6, 5)])
def test_nothing_visible_gives_numbers_and_gradients(shape: tuple[int, int, int]) -> None:
    """A frame, a track and a video without a visible track: no NaN, neither in scores nor in gradients."""
    n, t, _ = shape
    presence_MT = np.full((n, t), 3, np.float32)
    presence_MT[:, 0], presence_MT[0] = -3, -3
    for some in (presence_MT, np.full((n, t), -3, np.float32)):
        s = sample(*shape)
        s = replace(s, tracks=replace(s.tracks, presence_MT=some))
        model = build(alpha=0.1).train()
        batch = collate([s, sample(3, 5, 2, seed=1)])
        output = model(batch)
        assert output.logits_BN.isfinite().all()
        losses = model.losses(output, batch, selector_section("soc"))
        assert losses.total_B.isfinite().all()
        losses.total_B.sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_words_decide(model: Soc) -> None:
    s = sample(4, 10, 5)
    other = sample(4, 10, 5, seed=9, of=s.tracks)
    assert (score(model, [s])[0] - score(model, [other])[0]).abs().max() > 1e-3


# ------------------------------------------------------------- query fusion


def random_fusion(q: int = 3, k: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x_BQD, y_BKD = torch.randn(2, q, 8, generator=generator), torch.randn(2, k, 8, generator=generator)
    visible_BK = torch.rand(2, k, generator=generator) < 0.7
    return x_BQD, y_BKD, visible_BK


def test_the_walk_is_row_stochastic() -> None:
    x_BQD, y_BKD, visible_BK = random_fusion()
    share_BQK = token_shares(x_BQD, y_BKD, visible_BK)
    torch.testing.assert_close(share_BQK.sum(2), torch.ones(2, 3))
    assert not share_BQK[~visible_BK[:, None].expand_as(share_BQK)].any()
    walk_BQQ = walk(share_BQK)
    torch.testing.assert_close(walk_BQQ.sum(2), torch.ones(2, 3))
    assert (walk_BQQ >= 0).all()


def test_fusion_preserves_constants() -> None:
    _, _, visible_BK = random_fusion()
    value_D = torch.arange(1.0, 9.0)
    fused_BQD = fuse(value_D.expand(2, 3, 8), value_D.expand(2, 9, 8), visible_BK)
    torch.testing.assert_close(fused_BQD, value_D.expand(2, 3, 8))


def test_fusion_is_where_the_exchange_ends() -> None:
    """The closed form against the exchange it is the limit of: x ← (1 − w)x⁰ + w Zᵀ((1 − w)y⁰ + w Ẑx)."""
    x_BQD, y_BKD, visible_BK = random_fusion()
    cosine_BQK = torch.stack(
        [torch.cosine_similarity(x[:, None], y[None], dim=-1) for x, y in zip(x_BQD, y_BKD, strict=True)]
    )
    z_BQK = (SHARPNESS * cosine_BQK).masked_fill(~visible_BK[:, None], -math.inf).softmax(-1)
    back_BKQ = (z_BQK / z_BQK.sum(1, keepdim=True)).transpose(1, 2).nan_to_num()
    current = x_BQD
    for _ in range(60):
        tokens = (1 - WALK) * y_BKD + WALK * back_BKQ @ current
        current = (1 - WALK) * x_BQD + WALK * z_BQK @ tokens
    torch.testing.assert_close(fuse(x_BQD, y_BKD, visible_BK), current, **TOLERANCE)


def test_fusion_without_a_token_keeps_the_slots() -> None:
    x_BQD, y_BKD, visible_BK = random_fusion()
    assert torch.equal(fuse(x_BQD, y_BKD, torch.zeros_like(visible_BK)), x_BQD)


# ------------------------------------------------------------- frame weights


def test_match_entropy_by_hand() -> None:
    """Two tracks and "none": alike gives 1; one far ahead gives 0; a frame where nothing is visible gives 0."""
    match_BNT = torch.tensor([[[0.0, 1.0, 0.3], [0.0, -1.0, 0.9]]])
    visible_BNT = torch.tensor([[[True, True, False], [True, True, False]]])
    found_BT = match_entropy(match_BNT, torch.tensor(0.0), visible_BNT)
    p = np.exp(np.array([1.0, -1.0, 0.0]) / 0.1)
    p /= p.sum()
    expected = -(p * np.log(p)).sum() / math.log(3)
    torch.testing.assert_close(found_BT, torch.tensor([[1.0, expected, 0.0]], dtype=torch.float32), atol=1e-6, rtol=0)


def test_the_running_mean_leaves_absence_out() -> None:
    g_BNTD = torch.tensor([5.0, 1.0, 9.0, 3.0]).view(1, 1, 4, 1)
    visible_BNT = torch.tensor([False, True, False, True]).view(1, 1, 4)
    assert running_mean(g_BNTD, visible_BNT).flatten().tolist() == [0, 1, 1, 2]


# ------------------------------------------------------------- losses


def test_contrast_by_hand() -> None:
    logits_RK = torch.tensor([[2.0, 1.0, 0.0, 5.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    positive_RK = torch.tensor([[True, True, False, False], [False] * 4, [True, False, False, False]])
    negative_RK = torch.tensor([[False, False, True, False], [True] * 4, [False] * 4])
    loss_R, counted_R = contrast(logits_RK, positive_RK, negative_RK)
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2  # each positive against the one negative
    torch.testing.assert_close(loss_R, torch.tensor([expected, 0.0, 0.0]))
    assert counted_R.tolist() == [True, False, True]


def test_contrast_goes_both_ways_and_leaves_the_unclear_out() -> None:
    """Two expressions of one video over two tracks: rows contrast tracks, columns contrast expressions."""
    shared = tracks(2, 3)
    logits_BN = torch.tensor([[2.0, -1.0], [0.5, 1.0]], requires_grad=True)

    def batch_of(*ious: tuple[float, float]) -> Batch:
        samples = [sample(2, 3, 2, seed=i, of=shared) for i in range(2)]
        iou = [np.array(values, np.float32) for values in ious]
        return collate([replace(s, iou_N=x, labels_N=x > 0.7) for s, x in zip(samples, iou, strict=True)])

    def step(gap: float) -> float:
        return math.log1p(math.exp(-gap))

    found_B = contrastive(logits_BN, batch_of((0.9, 0.1), (0.1, 0.9)))
    columns = (step(2 - 0.5) + step(1 + 1)) / 2
    expected = torch.tensor([(step(3) + columns) / 2, (step(0.5) + columns) / 2])
    torch.testing.assert_close(found_B, expected)
    unclear_B = contrastive(logits_BN, batch_of((0.9, 0.6), (0.6, 0.9)))
    torch.testing.assert_close(unclear_B, torch.zeros(2))


def test_contrast_stays_within_a_video() -> None:
    first, second = (sample(2, 3, 2, seed=i) for i in range(2))
    iou = np.array([0.9, 0.1], np.float32)
    first, second = (replace(s, iou_N=iou, labels_N=iou > 0.7) for s in (first, second))
    logits_BN = torch.tensor([[2.0, -1.0], [0.5, 1.0]])
    together_B = contrastive(logits_BN, collate([first, second]))
    alone_B = torch.cat([contrastive(logits_BN[i : i + 1], collate([s])) for i, s in enumerate((first, second))])
    torch.testing.assert_close(together_B, alone_B)


def test_the_gate_learns_from_real_frames_of_positive_tracks() -> None:
    short, long = sample(2, 2, 3), sample(1, 4, 3)
    short = replace(short, labels_N=np.array([True, False]), seen_NT=np.array([[True, False], [True, True]]))
    long = replace(long, labels_N=np.array([False]))
    gate_BNT = torch.full((2, 2, 4), 2.0)
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(2))) / 2
    torch.testing.assert_close(gate_loss(gate_BNT, collate([short, long])), torch.tensor([expected, 0.0]))


def test_losses_of_a_padded_batch_are_those_of_each_sample(model: Soc) -> None:
    samples = [sample(2, 5, 3), sample(6, 12, 4, seed=1)]

    def losses(some: list[Sample]) -> Tensor:
        batch = collate(some)
        found = model.losses(model(batch), batch, selector_section("soc"))
        return torch.stack([*found.parts.values(), found.total_B])

    apart = torch.cat([losses([s]) for s in samples], 1)
    torch.testing.assert_close(losses(samples), apart, atol=1e-4, rtol=1e-4)


def test_a_width_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match=r"selector\.soc\.dim = 30"):
        Soc(C, D, MODEL.model_copy(update={"dim": 30}), Tda(alpha=0.0, temperature=1.0))
