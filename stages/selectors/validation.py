"""How good a selector is on its validation split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stages.core.settings import SelectorTraining
from stages.selectors.batch import Sample, chunks, collate
from stages.selectors.losses import selection_losses
from stages.selectors.samples import Origin, VideoTracks
from stages.selectors.scoring import MAX_TOKENS
from stages.selectors.sola import Sola

# (video, index of the expression, chosen tracks) → (J, F)
Quality = Callable[[VideoTracks, int, tuple[Origin, ...]], tuple[float, float]]


@dataclass(frozen=True)
class Validation:
    """Means over expressions; precision, recall and F1 over all of their tracks.

    `threshold` is the probability at which F1 is best: what `selector.threshold` should be.
    """

    loss: float
    precision: float
    recall: float
    f1: float
    j: float
    f: float
    jf: float
    threshold: float


@torch.no_grad()
def validate(
    model: Sola, videos: Sequence[VideoTracks], quality: Quality, config: SelectorTraining, device: str
) -> Validation:
    """Runs all expressions of known truth; those without tracks count as answered with nothing."""
    model.eval()
    losses: list[float] = []
    measured: list[tuple[float, float]] = []
    probabilities, labels = [np.zeros(0)], [np.zeros(0, bool)]
    for tracks in videos:
        known = known_expressions(tracks)
        full = [e for e in known if len(tracks.tracks_of(e))]
        samples = tracks.samples(full, config.positive_iou) if full else []
        scored = dict(zip(full, _run(model, samples, config, device), strict=True))
        for e in known:
            chosen: tuple[Origin, ...] = ()
            if e in scored:
                loss, probability_N = scored[e]
                losses.append(loss)
                probabilities.append(probability_N)
                picked = tracks.tracks_of(e)[probability_N > config.validation_threshold]
                chosen = tuple(tracks.origins[row] for row in picked)
            measured.append(quality(tracks, e, chosen))
        labels += [sample.labels_N for sample in samples if sample.labels_N is not None]
    return _summary(losses, measured, np.concatenate(probabilities), np.concatenate(labels), config)


def known_expressions(tracks: VideoTracks) -> list[int]:
    """Indices of the expressions whose truth is known."""
    return [e for e, expression in enumerate(tracks.video.expressions) if expression.annotations is not None]


def _run(
    model: Sola, samples: Sequence[Sample], config: SelectorTraining, device: str
) -> list[tuple[float, NDArray[np.float64]]]:
    """Loss and (N,) probabilities of every sample."""
    results = []
    for indices in chunks(samples, MAX_TOKENS):
        batch = collate([samples[i] for i in indices]).to(device)
        logits_BN, z_BND = model(batch)
        losses = selection_losses(logits_BN, z_BND, model.negative_token.weight, batch, config)
        probability_BN = logits_BN.double().sigmoid().cpu().numpy()
        for row, (i, loss) in enumerate(zip(indices, losses.total_B.tolist(), strict=True)):
            results.append((loss, probability_BN[row, : len(samples[i])]))
    return results


def _summary(
    losses: Sequence[float],
    measured: Sequence[tuple[float, float]],
    probability_K: NDArray[np.float64],
    label_K: NDArray[np.bool_],
    config: SelectorTraining,
) -> Validation:
    precision, recall, f1 = precision_recall_f1(probability_K > config.validation_threshold, label_K)
    j, f = np.mean(measured, axis=0)
    return Validation(
        loss=float(np.mean(losses)) if losses else 0.0,
        precision=precision,
        recall=recall,
        f1=f1,
        j=float(j),
        f=float(f),
        jf=float((j + f) / 2),
        threshold=best_threshold(probability_K, label_K, config.validation_threshold),
    )


def precision_recall_f1(chosen_K: NDArray[np.bool_], label_K: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Shares of the chosen that are right and of the right that are chosen, and their harmonic mean; 0 for 0/0."""
    right = int((chosen_K & label_K).sum())
    n_chosen, n_right = int(chosen_K.sum()), int(label_K.sum())
    precision = right / n_chosen if n_chosen else 0.0
    recall = right / n_right if n_right else 0.0
    return precision, recall, 2 * right / (n_chosen + n_right) if n_chosen + n_right else 0.0


def best_threshold(probability_K: NDArray[np.float64], label_K: NDArray[np.bool_], default: float) -> float:
    """The threshold of best F1, midway between two probabilities; of equals the one nearest `default`."""
    if not label_K.any():
        return default
    order = np.argsort(-probability_K, kind="stable")
    sorted_K, hits_K = probability_K[order], np.cumsum(label_K[order])
    f1_K = 2 * hits_K / (np.arange(1, len(order) + 1) + label_K.sum())
    middle_K = (sorted_K + np.append(sorted_K[1:], 0.0)) / 2
    f1_K[np.append(sorted_K[1:] == sorted_K[:-1], False)] = -1  # no threshold lies between equals
    best = np.flatnonzero(f1_K == f1_K.max())
    return float(middle_K[best[np.argmin(np.abs(middle_K[best] - default))]])
