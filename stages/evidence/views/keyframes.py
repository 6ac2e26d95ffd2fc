"""Token-driven keyframe selection for frames that several tracks share.

After VRS-HQ (Gong et al., "The Devil is in Temporal Token", CVPR 2025), whose keyframe is where SAM2's
object score and the token's similarity to the text are highest; here over cached object scores, one frame
in each of K stretches of time, weighted over the tracks that the selector believes in.

Legend: N candidate tracks, T frames, K keyframes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A track is visible in a frame where its object score is above 0 and its mask covers this share of it.
VISIBLE_SHARE = 5e-5

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Sightings:
    """How N tracks are seen frame by frame; (N, T) each.

    Attributes:
        object_NT: object-score logits.
        iou_NT: predicted IoU.
        area_NT: mask areas in pixels.
        visible_NT: see `visible`.
    """

    object_NT: Floats
    iou_NT: Floats
    area_NT: NDArray[np.integer]
    visible_NT: NDArray[np.bool_]


def visible(object_NT: Floats, area_NT: NDArray[np.integer], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N, T): where a track can be seen, in frames of `size` = (height, width)."""
    floor = max(1.0, VISIBLE_SHARE * size[0] * size[1])
    return (object_NT > 0) & (area_NT >= floor)


def select_keyframes(scores_N: Sequence[float], sightings: Sightings, count: int) -> list[int]:
    """In each of `count` equal stretches of time the frame t that maximises Σ_n softmax(score)_n · q_nt.

    q_nt is σ(object score) where track n is visible, else 0. Ties go to the larger weighted sum of the predicted
    IoU, then of the area, then to the earlier frame.

    Args:
        scores_N: the selector's logits.
        sightings: of the same tracks.
        count: K, at least 1.

    Returns:
        At most `count` frame indices in order of time; a stretch where nothing is visible gives none.
    """
    from scipy.special import expit, softmax  # late: `--help` need not wait for scipy

    visible_NT = sightings.visible_NT
    weight_N = softmax(np.asarray(scores_N, np.float64))
    qualities = (expit(np.asarray(sightings.object_NT, np.float64)), sightings.iou_NT, sightings.area_NT)
    value_3T = np.stack([_weighted(weight_N, quality_NT, visible_NT) for quality_NT in qualities])
    bins = np.array_split(np.arange(visible_NT.shape[1]), count)
    seen = [frames[visible_NT[:, frames].any(axis=0)] for frames in bins]
    return [_best(frames, value_3T) for frames in seen if len(frames)]


def _weighted(weight_N: Floats, value_NT: NDArray[np.generic], visible_NT: NDArray[np.bool_]) -> NDArray[np.float64]:
    # The sum runs over tracks one by one: a matrix product may round differently from machine to machine.
    total_T = np.zeros(visible_NT.shape[1])
    for weight, value_T, seen_T in zip(weight_N, value_NT, visible_NT, strict=True):
        total_T += weight * np.where(seen_T, value_T.astype(np.float64), 0.0)
    return total_T


def _best(frames: NDArray[np.intp], value_3T: NDArray[np.float64]) -> int:
    return int(max(frames, key=lambda t: (*value_3T[:, t], -t)))
