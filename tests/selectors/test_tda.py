"""Temporal dynamic aggregation: off reproduces the plain score to the bit, on it follows its formula, in both selectors."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.samples import MODELS, C, D, sample

from stages.core.config.section import Section
from stages.core.config.selector_sections import Tda
from stages.selectors.architectures import Architecture
from stages.selectors.batch import Sample, TrackFeatures, collate
from stages.selectors.network import Network
from stages.selectors.presence import measured_presence
from stages.selectors.tda import aggregate, masked_softmax


def network(name: str, alpha: float) -> Network:
    model: Section = MODELS[name]
    return Architecture(name, model, Tda(alpha=alpha, temperature=0.5)).build(C, D, seed=1).eval()


def score(model: Network, s: Sample) -> torch.Tensor:
    with torch.no_grad():
        return model(collate([s])).logits_BN[0]


def seen(s: Sample, presence_MT: NDArray[np.float32]) -> Sample:
    tracks = TrackFeatures(s.tracks.tokens_MTC, presence_MT, s.tracks.area_MT, s.tracks.prompted_MT, s.tracks.boxes_MT4)
    return Sample(tracks, s.rows_N, s.words_WD, s.mean_D)


@pytest.mark.parametrize("name", ["sola", "soc"])
def test_off_is_the_plain_score_to_the_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s = sample(4, 20, 5)
    plain_N = score(network(name, 0.0), s)
    monkeypatch.setattr(f"stages.selectors.{name}.model.aggregate", lambda u, *_: u)
    without_N = score(network(name, 0.1), s)
    assert torch.equal(plain_N, without_N), "all that α changes is the aggregation"
    monkeypatch.undo()
    assert not torch.equal(plain_N, score(network(name, 0.1), s))


@pytest.mark.parametrize("name", ["sola", "soc"])
def test_a_track_that_is_never_visible_is_left_alone(name: str) -> None:
    s = sample(3, 20, 5)
    nowhere = np.full((3, 20), -1, np.float32)
    assert torch.equal(score(network(name, 0.0), seen(s, nowhere)), score(network(name, 0.3), seen(s, nowhere)))


def test_off_returns_the_very_tensor() -> None:
    pooled_BND = torch.randn(1, 2, 4)
    assert aggregate(pooled_BND, torch.full((1, 2, 3, 4), torch.nan), torch.ones(1, 2, 3, dtype=torch.bool),
                     Tda(alpha=0.0, temperature=1.0)) is pooled_BND  # fmt: skip


def test_the_formula_by_hand() -> None:
    """One track of three frames, one of them absent: λ is a softmax of two cosines over τ."""
    u, a, b = np.array([1.0, 0.0]), np.array([2.0, 0.0]), np.array([0.0, 3.0])
    tokens_BNTD = torch.tensor(np.array([a, [9.0, 9.0], b]), dtype=torch.float64)[None, None]
    visible_BNT = torch.tensor([[[True, False, True]]])
    found = aggregate(torch.tensor(u)[None, None], tokens_BNTD, visible_BNT, Tda(alpha=0.1, temperature=0.5))
    weight = np.exp([1 / 0.5, 0.0])
    weight /= weight.sum()
    np.testing.assert_allclose(found[0, 0].numpy(), u + 0.1 * (weight[0] * a + weight[1] * b))


def test_a_softmax_over_nothing_is_nothing() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    found = masked_softmax(x, mask)
    assert found[1].tolist() == [0, 0, 0] and found[0, 1] == 0
    assert float(found[0].detach().sum()) == pytest.approx(1)
    found.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_a_prompted_frame_gets_the_median_of_the_other_visible_ones() -> None:
    """SAM2 does not score a frame that it was prompted in with a mask: it writes 10."""
    score_NT = np.array([[10, 1, -4, 3, 2], [10, -1, -1, -1, -1], [5, 1, 10, -2, -2]], np.float32)
    prompted_NT = np.array([[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 1, 0, 0]], bool)
    found_NT = measured_presence(score_NT, prompted_NT)
    assert found_NT[:, 0].tolist() == [2, 10, 5] and found_NT[2, 2] == 3
    others = ~prompted_NT
    np.testing.assert_array_equal(found_NT[others], score_NT[others])
    assert score_NT[0, 0] == 10, "the file's own values are not changed"
