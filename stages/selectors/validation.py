"""How good a selector is on its validation split, and at which threshold.

Legend: N tracks of an expression, K thresholds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stages.core.config.selector_sections import Selector
from stages.selectors.batch import Sample, chunks, collate
from stages.selectors.network import Network
from stages.selectors.order import known_expressions
from stages.selectors.quality import Quality
from stages.selectors.samples import VideoTracks
from stages.selectors.store import Store
from stages.training.processes import World

PLAIN_THRESHOLD = 0.5
GRID = tuple(i / 20 for i in range(1, 20))  # the thresholds that calibration tries


@dataclass(frozen=True)
class Validation:
    """Means over expressions; precision, recall and F1 over all of their tracks; all at `threshold`.

    `threshold` is the probability at which J&F is best, or the one that the config fixes.
    """

    loss: float
    precision: float
    recall: float
    f1: float
    j: float
    f: float
    jf: float
    threshold: float


@dataclass(frozen=True)
class Outcome:
    """One expression: its loss (None where it has no track), tracks, and (J, F) at every threshold (K, 2)."""

    loss: float | None
    probability_N: NDArray[np.float64]
    label_N: NDArray[np.bool_]
    quality_K2: NDArray[np.float64]


def validate(
    model: Network, store: Store, quality: Quality, config: Selector, tokens_per_pass: int, device: str, world: World
) -> Validation:
    """Runs all expressions of known truth; those without tracks get an empty answer."""
    model.eval()
    fixed = config.training.validation_threshold
    thresholds = GRID if fixed == "auto" else (fixed,)
    mine = [
        list(_outcomes(model, store, video, quality, thresholds, config, tokens_per_pass, device))
        for video in world.deal(range(len(store.videos)))
    ]
    return summary([outcome for video in world.gather(mine) for outcome in video], thresholds)


def summary(outcomes: Sequence[Outcome], thresholds: Sequence[float]) -> Validation:
    """At the threshold of best J&F; ties go to the one nearest .5."""
    quality_K2 = np.mean([outcome.quality_K2 for outcome in outcomes], axis=0)
    best = best_threshold(quality_K2.mean(1), thresholds)
    probability, label = (
        np.concatenate([getattr(outcome, name) for outcome in outcomes]) for name in ("probability_N", "label_N")
    )
    precision, recall, f1 = precision_recall_f1(probability > thresholds[best], label)
    losses = [outcome.loss for outcome in outcomes if outcome.loss is not None]
    j, f = quality_K2[best]
    return Validation(
        loss=float(np.mean(losses)) if losses else 0.0,
        precision=precision,
        recall=recall,
        f1=f1,
        j=float(j),
        f=float(f),
        jf=float((j + f) / 2),
        threshold=float(thresholds[best]),
    )


def best_threshold(quality_K: NDArray[np.float64], thresholds: Sequence[float]) -> int:
    """The index of the best; ties (up to rounding) go to the one nearest .5."""
    best: list[int] = np.flatnonzero(quality_K >= quality_K.max() - 1e-12).tolist()
    return min(best, key=lambda k: abs(thresholds[k] - PLAIN_THRESHOLD))


def precision_recall_f1(chosen_K: NDArray[np.bool_], label_K: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Shares of the chosen that are right and of the right that are chosen, and their harmonic mean; 0 for 0/0."""
    right = int((chosen_K & label_K).sum())
    n_chosen, n_right = int(chosen_K.sum()), int(label_K.sum())
    precision = right / n_chosen if n_chosen else 0.0
    recall = right / n_right if n_right else 0.0
    return precision, recall, 2 * right / (n_chosen + n_right) if n_chosen + n_right else 0.0


def _outcomes(
    model: Network,
    store: Store,
    video: int,
    quality: Quality,
    thresholds: Sequence[float],
    config: Selector,
    tokens_per_pass: int,
    device: str,
) -> Iterator[Outcome]:
    """The results of one video's expressions."""
    tracks = store.videos[video]
    known = known_expressions(tracks)
    full = [e for e in known if len(tracks.tracks_of(e))]
    samples = store.samples(video, full) if full else []
    scored = dict(
        zip(full, zip(samples, _run(model, samples, config, tokens_per_pass, device), strict=True), strict=True)
    )
    for e in known:
        loss, probability_N, label_N = None, np.zeros(0), np.zeros(0, bool)
        if e in scored:
            sample, (loss, probability_N) = scored[e]
            assert sample.labels_N is not None
            label_N = sample.labels_N
        yield Outcome(loss, probability_N, label_N, _quality_K2(tracks, e, probability_N, quality, thresholds))


def _quality_K2(
    tracks: VideoTracks,
    expression: int,
    probability_N: NDArray[np.float64],
    quality: Quality,
    thresholds: Sequence[float],
) -> NDArray[np.float64]:
    rows_N = tracks.tracks_of(expression)
    return np.array(
        [
            quality(tracks, expression, tuple(tracks.ids[row] for row in rows_N[probability_N > threshold]))
            for threshold in thresholds
        ]
    )


@torch.no_grad()
def _run(
    model: Network, samples: Sequence[Sample], config: Selector, tokens_per_pass: int, device: str
) -> list[tuple[float, NDArray[np.float64]]]:
    """Loss and (N,) probabilities of every sample, in float32."""
    results = []
    for indices in chunks([(1, len(sample), sample.tracks.n_frames) for sample in samples], tokens_per_pass):
        batch = collate([samples[i] for i in indices]).to(device)
        output = model(batch)
        losses_B = model.losses(output, batch, config).total_B.tolist()
        probability_BN = output.logits_BN.double().sigmoid().cpu().numpy()
        for row, (i, loss) in enumerate(zip(indices, losses_B, strict=True)):
            results.append((loss, probability_BN[row, : len(samples[i])]))
    return results
