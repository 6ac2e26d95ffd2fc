"""Random tracks and samples to score, and a small model of either architecture that fits them."""

import numpy as np
import torch
from torch import Tensor

from stages.selectors.batch import Sample, TrackFeatures, collate
from stages.selectors.course.settings import CourseModel
from stages.selectors.network import Network
from stages.selectors.soc.settings import SocModel
from stages.selectors.sola.settings import SolaModel

C, D = 16, 24  # widths of a token and of a word
SOLA = SolaModel(hidden_dim=24, n_layers=2, n_heads=4, n_groups=8, n_negatives=5, dropout=0.2, attention_dropout=0.1)
SOC = SocModel(
    dim=32,
    ffn_dim=48,
    n_heads=4,
    n_proxies=5,
    n_encoder_layers=2,
    n_slots=3,
    n_slot_layers=2,
    dropout=0.1,
    attention_dropout=0.1,
)
COURSE = CourseModel(
    dim=24,
    n_heads=4,
    n_layers=2,
    n_text_layers=1,
    n_times=8,
    dropout=0.1,
    pointers=True,
    detector=True,
    place_noise=0.01,
    size_noise=0.05,
    missed=0.1,
    detector_missed=0.5,
)
MODELS = {"sola": SOLA, "soc": SOC, "course": COURSE}


def tracks(n: int, t: int, seed: int = 0, absent: float = 0.3) -> TrackFeatures:
    rng = np.random.default_rng([seed, n, t])
    presence_MT = np.where(rng.random((n, t)) < absent, -2, 3).astype(np.float32)
    area_MT = (rng.random((n, t)) * (presence_MT > 0)).astype(np.float32)
    tokens_MTC = rng.normal(size=(n, t, C)).astype(np.float32)
    prompted_MT = np.arange(t)[None] == rng.integers(0, t, (n, 1))
    start_MT2, side_MT2 = rng.random((n, t, 2)) / 2, rng.random((n, t, 2)) / 2
    boxes_MT4 = np.concatenate([start_MT2, start_MT2 + side_MT2], -1) * (presence_MT > 0)[..., None]
    return TrackFeatures(tokens_MTC, presence_MT, area_MT, prompted_MT, boxes_MT4.astype(np.float32))


def sample(n: int, t: int, w: int, seed: int = 0, of: TrackFeatures | None = None, absent: float = 0.3) -> Sample:
    rng = np.random.default_rng([seed, n, t, w])
    words_WD = rng.normal(size=(w, D)).astype(np.float32)
    iou_N = rng.random(n).astype(np.float32)
    seen_NT = rng.random((n, t)) < 0.5
    features = tracks(n, t, seed, absent) if of is None else of
    return Sample(features, np.arange(n), words_WD, words_WD.mean(0), iou_N, iou_N > 0.7, seen_NT)


@torch.no_grad()
def score(model: Network, samples: list[Sample]) -> list[Tensor]:
    """(N,) finite logits of each sample, scored in one batch."""
    logits_BN = model(collate(samples)).logits_BN
    assert logits_BN.isfinite().all()
    return [logits_BN[i, : len(s)] for i, s in enumerate(samples)]
