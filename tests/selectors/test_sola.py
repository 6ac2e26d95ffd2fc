"""The `sola` selector against a plain single-sample implementation of its formulas, and its padding traps."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.published_sola import PUBLISHED, plain_scores, published_names
from support.samples import SOLA as MODEL
from support.samples import score
from torch import Tensor

from stages.core.config.selector_sections import Tda
from stages.selectors.architectures import Architecture
from stages.selectors.batch import Batch, Sample, TrackFeatures, chunks, collate
from stages.selectors.checkpoint import Header, read_header, save_selector
from stages.selectors.losses import weighted_bce
from stages.selectors.scoring import TrainedSelector
from stages.selectors.sola.losses import alignment
from stages.selectors.sola.model import Sola, masked_group_norm

C, D = 16, 32
PLAIN = Tda(alpha=0.0, temperature=1.0)
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def build(seed: int, tda: Tda = PLAIN) -> Sola:
    model = Architecture("sola", MODEL, tda).build(C, D, seed)
    assert isinstance(model, Sola)
    return model


@pytest.fixture(scope="module")
def model() -> Sola:
    """Random everywhere: norms and biases too, so that nothing is hidden behind a 1 or a 0."""
    sola = build(3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in sola.named_parameters():
            if name.endswith("bias") or parameter.ndim == 1:
                parameter.copy_(parameter + 0.3 * torch.randn(parameter.shape, generator=generator))
    return sola.eval()


def sample(n: int, t: int, w: int, seed: int = 0) -> Sample:
    rng = np.random.default_rng([seed, n, t, w])
    words_WD = rng.normal(size=(w, D)).astype(np.float32)
    labels_N = rng.random(n) < 0.5
    tracks = TrackFeatures.of_tokens(rng.normal(size=(n, t, C)).astype(np.float32))
    return Sample(tracks, np.arange(n), words_WD, words_WD.mean(0), labels_N=labels_N)


# ------------------------------------------------------------- the formulas, written for one sample


# ------------------------------------------------------------- scores


@pytest.mark.parametrize("shape", [(4, 25, 6), (1, 9, 3), (3, 1, 4), (1, 1, 1), (5, 8, 2), (2, 17, 9)])
def test_scores_follow_the_formulas(model: Sola, shape: tuple[int, int, int]) -> None:
    s = sample(*shape)
    found = model(collate([s]))
    expected_N, expected_ND = plain_scores(
        model.state_dict(), MODEL, torch.from_numpy(s.tracks.tokens_MTC), torch.from_numpy(s.words_WD)
    )
    torch.testing.assert_close(found.logits_BN[0], expected_N, **TOLERANCE)
    torch.testing.assert_close(found.pooled_BND[0], expected_ND, **TOLERANCE)


def test_a_padded_batch_scores_as_each_sample_alone(model: Sola) -> None:
    shapes = [(4, 25, 6), (2, 9, 3), (6, 17, 8), (3, 1, 4), (1, 30, 1), (5, 8, 2)]
    samples = [sample(*shape, seed=i) for i, shape in enumerate(shapes)]
    for together_N, s in zip(score(model, samples), samples, strict=True):
        torch.testing.assert_close(together_N, score(model, [s])[0], **TOLERANCE)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 30), st.integers(1, 8)), min_size=1, max_size=5))
def test_no_padding_whatever_leaks(shapes: list[tuple[int, int, int]]) -> None:
    """In float64: where a GroupNorm sees four values (one track of one step), float32 itself errs by 2e-5."""
    model = build(3).double().eval()
    samples = [sample(*shape, seed=i) for i, shape in enumerate(shapes)]
    together = model(in_double(collate(samples))).logits_BN
    for i, s in enumerate(samples):
        alone = model(in_double(collate([s]))).logits_BN[0]
        torch.testing.assert_close(together[i, : len(s)], alone, atol=1e-9, rtol=1e-9)
        assert not together[i, len(s) :].any()


def in_double(batch: Batch) -> Batch:
    return Batch(**{name: x.double() if x.is_floating_point() else x for name, x in vars(batch).items()})


def test_padding_may_hold_anything(model: Sola) -> None:
    samples = [sample(2, 9, 3), sample(4, 20, 5)]
    clean = collate(samples)
    dirty = Batch(**vars(clean) | {"tokens_MTC": clean.tokens_MTC.clone(), "words_BWD": clean.words_BWD.clone()})
    dirty.tokens_MTC[:2, 9:], dirty.words_BWD[0, 3:] = -1e3, 1e3
    dirty.tracks_VN[0, 2:] = 5
    with torch.no_grad():
        torch.testing.assert_close(model(dirty).logits_BN, model(clean).logits_BN, atol=0, rtol=0)


def test_permuting_tracks_permutes_scores(model: Sola) -> None:
    s = sample(6, 20, 5)
    order = np.array([3, 0, 5, 1, 4, 2])
    permuted = Sample(s.tracks, order, s.words_WD, s.mean_D)
    torch.testing.assert_close(score(model, [permuted])[0], score(model, [s])[0][torch.from_numpy(order)], **TOLERANCE)


def test_a_sample_scores_its_own_rows(model: Sola) -> None:
    s = sample(5, 12, 4)
    picked = Sample(s.tracks, np.array([1, 4]), s.words_WD, s.mean_D)
    copied = Sample(TrackFeatures.of_tokens(s.tracks.tokens_MTC[[1, 4]]), np.arange(2), s.words_WD, s.mean_D)
    assert torch.equal(score(model, [picked])[0], score(model, [copied])[0])


def test_every_gradient_is_finite_in_a_padded_batch() -> None:
    model = build(0).train()
    found = model(collate([sample(1, 1, 1), sample(5, 30, 7)]))
    (found.logits_BN.sum() + found.pooled_BND.sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_group_norm_over_padding_is_the_trap() -> None:
    """Padding changes what GroupNorm gives; the masked one gives what the unpadded row gives."""
    norm = torch.nn.GroupNorm(2, 4)
    x_1LD = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0)) + 2
    padded_1LD = torch.cat([x_1LD, torch.zeros(1, 2, 4)], 1)
    alone_1LD = norm(x_1LD.transpose(1, 2)).transpose(1, 2)
    assert (norm(padded_1LD.transpose(1, 2)).transpose(1, 2)[:, :3] - alone_1LD).abs().max() > 0.1
    mask_1L = torch.tensor([[True, True, True, False, False]])
    found_1LD = masked_group_norm(norm, padded_1LD, mask_1L)
    torch.testing.assert_close(found_1LD[:, :3], alone_1LD, atol=1e-6, rtol=1e-6)
    assert not found_1LD[:, 3:].any()
    assert not masked_group_norm(norm, padded_1LD, torch.zeros_like(mask_1L)).any()


def test_group_norm_takes_its_statistics_over_the_tracks(model: Sola) -> None:
    """Another track in the sample changes a track's score: it is no padding."""
    s = sample(3, 10, 4)
    alone = Sample(s.tracks, np.array([0]), s.words_WD, s.mean_D)
    assert abs(float(score(model, [alone])[0][0] - score(model, [s])[0][0])) > 1e-3


# ------------------------------------------------------------- the checkpoint's names


def test_names_and_size_are_those_of_the_published_model() -> None:
    with torch.device("meta"):
        model = Sola(256, 1024, PUBLISHED, PLAIN)
    assert set(model.state_dict()) == published_names()
    assert sum(p.numel() for p in model.parameters()) == 32_980_480  # the paper says 32.9 M
    assert model.state_dict()["positional_encoding_gaussian_matrix"].shape == (1, 512)
    assert [layer.stride[0] for layer in model.short_motion_encoder if isinstance(layer, torch.nn.Conv1d)] == [
        2, 2, 2, 1, 1, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(("change", "name"), [({"n_heads": 5}, "n_heads"), ({"n_groups": 7}, "n_groups")])
def test_widths_that_do_not_divide_are_refused(change: dict[str, int], name: str) -> None:
    with pytest.raises(ValueError, match=rf"selector\.sola\.{name}"):
        Sola(C, D, MODEL.model_copy(update=change), PLAIN)


# ------------------------------------------------------------- losses


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_losses_against_hand_computation() -> None:
    """Two tracks, the first positive: every number of both losses written out."""
    z_BND = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    negatives_KD = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0]])
    words_WD = np.array([[0.5, 0.25]], np.float32)
    tracks = TrackFeatures.of_tokens(np.zeros((2, 1, 1), np.float32))
    s = Sample(tracks, np.arange(2), words_WD, words_WD[0], labels_N=np.array([True, False]))
    batch = collate([s])
    bce = (1.5 * softplus(-0.7) + softplus(-1.1)) / 2
    assert weighted_bce(torch.tensor([[0.7, -1.1]]), batch, 1.5)[0].item() == pytest.approx(bce, rel=1e-6)
    k = math.exp(0.07)
    positive = (softplus(-0.5 * k) + softplus(0.5 * k)) / 2  # z·e = .5 for the positive, .5 for the negative
    # the positive track has no target among the negatives; the other is drawn to its arg-max, z·Neg = (2, 0, −2)
    first = (softplus(0) + softplus(k) + softplus(0)) / 3
    second = (softplus(-2 * k) + softplus(0) + softplus(-2 * k)) / 3
    expected = 1.5 * positive + (first + second) / 2
    assert alignment(z_BND, negatives_KD, batch, 1.5, 0.07)[0].item() == pytest.approx(expected, rel=1e-6)


def test_losses_leave_padding_out(model: Sola) -> None:
    samples = [sample(2, 5, 3), sample(6, 12, 4)]

    def losses(some: list[Sample]) -> Tensor:
        batch = collate(some)
        found = model(batch)
        negatives = model.negative_token.weight
        aligned_B = alignment(found.pooled_BND, negatives, batch, 1.5, 0.07)
        return torch.stack([weighted_bce(found.logits_BN, batch, 1.5), aligned_B])

    apart = torch.cat([losses([s]) for s in samples], 1)
    torch.testing.assert_close(losses(samples), apart, **TOLERANCE)


# ------------------------------------------------------------- batches and files


@given(st.lists(st.tuples(*[st.integers(1, 9)] * 3), max_size=12), st.integers(1, 200))
def test_chunks_are_consecutive_complete_and_bounded(sizes: list[tuple[int, int, int]], bound: int) -> None:
    found = chunks(sizes, bound)
    assert [i for indices in found for i in indices] == list(range(len(sizes)))
    for indices in found:
        b, n, t = zip(*(sizes[i] for i in indices))
        assert len(indices) == 1 or sum(b) * max(n) * max(t) <= bound


def header(**change: object) -> Header:
    fields = {"name": "sola", "model": MODEL.model_dump(), "tda": PLAIN.model_dump(), "token_dim": C, "text_dim": D}
    weights = {"sam2": "a" * 16, "text": "b" * 16}
    return Header(**{**fields, "weights": weights, "threshold": 0.35, "training": "c" * 16, **change})  # type: ignore[arg-type]


def test_a_saved_selector_scores_the_same(model: Sola, tmp_path) -> None:
    path = tmp_path / "selector.safetensors"
    save_selector(path, model, header())
    first = path.read_bytes()
    save_selector(path, model, header())
    assert path.read_bytes() == first
    s = sample(4, 20, 6)
    selector = TrainedSelector(path, "cpu", {"sam2": "a" * 16}, "here")
    found_N = selector.score(s.tracks.tokens_MTC, s.words_WD)
    np.testing.assert_array_equal(found_N, score(model, [s])[0].numpy())
    assert found_N.dtype == np.float32
    assert selector.score(s.tracks.tokens_MTC[:0], s.words_WD).shape == (0,)
    mixed = [sample(3, 7, 2), Sample(s.tracks, np.zeros(0, int), s.words_WD, s.mean_D), s]
    assert [len(x) for x in selector.score_all(mixed, tokens_per_pass=10_000)] == [3, 0, 4]
    with pytest.raises(ValueError, match=r"widths \(16, 32\); got \(16, 8\)"):
        selector.score(s.tracks.tokens_MTC, s.words_WD[:, :8])


def test_a_wrong_checkpoint_is_refused_by_name(model: Sola, tmp_path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "selector.safetensors"
    with pytest.raises(ValueError, match="no such selector"):
        read_header(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        read_header(path)
    save_file(model.state_dict(), path)
    with pytest.raises(ValueError, match="not a selector of this project"):
        TrainedSelector(path, "cpu", {}, "")
    save_selector(path, model, header(name="gnn"))
    with pytest.raises(ValueError, match=r"no selector 'gnn'; known: sola, soc"):
        TrainedSelector(path, "cpu", {}, "")
    save_selector(path, model, header(text_dim=64))
    with pytest.raises(ValueError, match="do not fit its header"):
        TrainedSelector(path, "cpu", {}, "")
    save_selector(path, model, header())
    with pytest.raises(ValueError, match=r"sam2 weights a{16}, but the tracks of v1 holds those of sam2 weights d"):
        TrainedSelector(path, "cpu", {"sam2": "d" * 16}, "the tracks of v1")
