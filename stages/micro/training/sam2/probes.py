"""What a linear probe reads from object pointers: ridge regression, fitted on half of the clips, tested on the rest.

Legend: K samples, C channels, D targets.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.micro.training.sam2.batches import VISIBLE
from stages.micro.training.sam2.tracked import Tracked

Array = NDArray[np.float64]
RIDGE = 3.0  # on standardised channels
APART = 6  # frames between the two pointers of a direction
MOVED = 8.0  # pixels: below it there is no clear direction


def probe_figures(tracks: Sequence[Tracked]) -> dict[str, float]:
    """R² of centre, log area and step since the frame before; accuracy of colour, shape and direction.

    Only pointers after the prompt frame, where the object is visible and its score says so. A direction is
    right if the displacement read from two pointers, APART frames apart, has the true one's main axis and sign.
    """
    samples = [_samples(track) for track in tracks]
    pointer_KC, clip_K = _joined(samples, "pointer"), _joined(samples, "clip")[:, 0]
    fit_K = clip_K % 2 == 0
    if fit_K.sum() < 50 or (~fit_K).sum() < 50:
        return {}
    figures: dict[str, float] = {"probe_pointers": int((~fit_K).sum())}
    for name in ("centre", "log_area", "step"):
        target_KD = _joined(samples, name)
        known_K = np.isfinite(target_KD).all(1)
        read_KD = _ridge(pointer_KC[fit_K & known_K], target_KD[fit_K & known_K], pointer_KC[~fit_K & known_K])
        figures[f"{name}_r2"] = _r2(read_KD, target_KD[~fit_K & known_K])
    for name in ("colour", "shape"):
        label_K = _joined(samples, name)[:, 0].astype(int)
        read_KD = _ridge(pointer_KC[fit_K], np.eye(label_K.max() + 1)[label_K[fit_K]], pointer_KC[~fit_K])
        figures[f"{name}_accuracy"] = round(float((read_KD.argmax(1) == label_K[~fit_K]).mean()), 4)
    return figures | _direction(tracks)


def _samples(track: Tracked) -> dict[str, Array]:
    seen = np.flatnonzero((track.area_T >= VISIBLE) & (track.score_T > 0))
    seen = seen[seen > 0]
    centre_T2 = track.centre_T2
    column = np.ones((len(seen), 1))
    return {
        "pointer": track.pointer_TC[seen].astype(np.float64),
        "clip": column * track.clip,
        "centre": centre_T2[seen],
        "log_area": np.log(track.area_T[seen])[:, None],
        "step": centre_T2[seen] - centre_T2[seen - 1],
        "colour": column * track.colour,
        "shape": column * track.shape,
    }


def _direction(tracks: Sequence[Tracked]) -> dict[str, float]:
    pairs, moves, clips = [], [], []
    for track in tracks:
        seen_T = (track.area_T >= VISIBLE) & (track.score_T > 0)
        for t in range(1, len(seen_T) - APART):
            if seen_T[t] and seen_T[t + APART]:
                move_2 = track.centre_T2[t + APART] - track.centre_T2[t]
                if np.abs(move_2).max() >= MOVED:
                    pairs.append(np.concatenate([track.pointer_TC[t], track.pointer_TC[t + APART]]).astype(np.float64))
                    moves.append(move_2)
                    clips.append(track.clip)
    fit_K = np.array(clips, int) % 2 == 0
    if fit_K.sum() < 50 or (~fit_K).sum() < 50:
        return {}
    read_K2 = _ridge(np.stack(pairs)[fit_K], np.stack(moves)[fit_K], np.stack(pairs)[~fit_K])
    right_K = _main_direction(read_K2) == _main_direction(np.stack(moves)[~fit_K])
    return {"direction_accuracy": round(float(right_K.mean()), 4)}


def _main_direction(move_K2: Array) -> NDArray[np.int64]:
    """0 … 3: right, left, down, up."""
    axis_K = np.abs(move_K2).argmax(1)
    return 2 * axis_K + (np.take_along_axis(move_K2, axis_K[:, None], 1)[:, 0] < 0)


def _ridge(fit_KC: Array, target_KD: Array, read_KC: Array) -> Array:
    """Fits targets, then predicts those of other samples."""
    middle, spread = fit_KC.mean(0), fit_KC.std(0) + 1e-6
    x_KC, mean_D = (fit_KC - middle) / spread, target_KD.mean(0)
    weights_CD = np.linalg.solve(x_KC.T @ x_KC + RIDGE * np.eye(x_KC.shape[1]), x_KC.T @ (target_KD - mean_D))
    return (read_KC - middle) / spread @ weights_CD + mean_D


def _r2(read_KD: Array, true_KD: Array) -> float:
    """The mean over targets."""
    unexplained_D = ((read_KD - true_KD) ** 2).sum(0)
    return round(float((1 - unexplained_D / ((true_KD - true_KD.mean(0)) ** 2).sum(0)).mean()), 4)


def _joined(samples: Sequence[dict[str, Array]], name: str) -> Array:
    return np.concatenate([sample[name] for sample in samples])
