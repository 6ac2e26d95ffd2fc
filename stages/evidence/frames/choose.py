"""Frames that several tracks share, chosen evenly over time or by how well they show the tracks.

Legend: N tracks, T frames, K stretches of time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.evidence.frames.quality import quality
from stages.evidence.frames.settings import FrameSettings
from stages.evidence.frames.sightings import Sightings

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Stretch:
    """A part of a video that is judged by itself.

    Attributes:
        window: its frames.
        shown: those of them that are shown, in order of time.
    """

    window: range
    shown: tuple[int, ...]


def choose_frames(settings: FrameSettings, sightings: Sightings, scores_N: Sequence[float] | None) -> list[Stretch]:
    """The whole video as one stretch, or its clips; a stretch in which nothing can be shown is left out.

    Args:
        sightings: of the tracks that share the frames; at least one.
        scores_N: the selector's logits of these tracks; None = all weigh the same.
    """
    n_frames = sightings.visible_NT.shape[1]
    windows = bins(n_frames, settings.clips) if settings.mode == "clips" else [range(n_frames)]
    shown = [_shown(settings, sightings, scores_N, window) for window in windows]
    return [Stretch(window, frames) for window, frames in zip(windows, shown, strict=True) if frames]


def _shown(
    settings: FrameSettings, sightings: Sightings, scores_N: Sequence[float] | None, window: range
) -> tuple[int, ...]:
    inside = sightings.within(window)
    if settings.mode == "uniform":
        frames = uniform(len(window), settings.count) if inside.visible_NT.any() else []
    elif settings.mode == "seen":
        frames = evenly_seen(inside, settings.count)
    else:
        frames = keyframes(inside, quality(inside, settings), scores_N, settings.count)
    return tuple(window.start + t for t in frames)


def bins(n_frames: int, count: int) -> list[range]:
    """At most `count` stretches of time that differ in length by one frame at most, the longer ones first; none is empty."""
    parts = np.array_split(np.arange(n_frames), min(count, n_frames))
    return [range(int(part[0]), int(part[-1]) + 1) for part in parts]


def uniform(n_frames: int, count: int) -> list[int]:
    """The middle frames of `count` equal stretches; all frames where there are no more."""
    return [(stretch.start + stretch.stop - 1) // 2 for stretch in bins(n_frames, count)]


def evenly_seen(sightings: Sightings, count: int) -> list[int]:
    """As `uniform`, of the frames alone in which a track is visible: as AgentRVOS prunes time."""
    seen = np.flatnonzero(sightings.visible_NT.any(axis=0)).tolist()
    return [seen[n] for n in uniform(len(seen), count)] if seen else []


def keyframes(sightings: Sightings, quality_NT: Floats, scores_N: Sequence[float] | None, count: int) -> list[int]:
    """In each of `count` equal stretches of time the frame t that maximises Σ_n softmax(score)_n · q_nt.

    Ties go to the larger weighted sum of the predicted IoU, then of the area, then to the earlier frame.

    Args:
        quality_NT: q_nt, 0 where a track is not visible.
        scores_N: None = all tracks weigh the same.

    Returns:
        At most `count` frame indices in order of time; a stretch where nothing is visible gives none.
    """
    from scipy.special import softmax  # late: `--help` need not wait for scipy

    seen_NT = sightings.visible_NT
    n_tracks, n_frames = seen_NT.shape
    weight_N = softmax(np.zeros(n_tracks) if scores_N is None else np.asarray(scores_N, np.float64))
    values_NT = (quality_NT, sightings.iou_NT, sightings.area_NT)
    value_3T = np.stack([_weighted(weight_N, value_NT, seen_NT) for value_NT in values_NT])
    stretches = [[t for t in stretch if seen_NT[:, t].any()] for stretch in bins(n_frames, count)]
    return [max(frames, key=lambda t: (*value_3T[:, t], -t)) for frames in stretches if frames]


def _weighted(weight_N: Floats, value_NT: NDArray[np.generic], seen_NT: NDArray[np.bool_]) -> NDArray[np.float64]:
    # The sum runs over tracks one by one: a matrix product may round differently from machine to machine.
    total_T = np.zeros(seen_NT.shape[1])
    for weight, value_T, seen_T in zip(weight_N, value_NT, seen_NT, strict=True):
        total_T += weight * np.where(seen_T, value_T.astype(np.float64), 0.0)
    return total_T
