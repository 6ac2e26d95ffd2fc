"""Samples of a selector, and padded batches of them that hold every track once.

Legend: B samples, M tracks of all videos, V scenes (a video with some of its tracks), N tracks of a scene, T frames,
C channels of an object token, W words, D text width.

What does not depend on the words is computed once per track or per scene, however many expressions of a
video are scored: a batch holds the tracks flat, scenes point at tracks, and samples point at scenes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNCHECKED = 10.0  # object-score logit of a track of which only the tokens are known: visible in every frame


@dataclass(frozen=True, eq=False)
class TrackFeatures:
    """What is cached of the tracks of one video; two are equal only if they are the same object.

    Attributes:
        tokens_MTC: SAM2's object tokens, float16 or float32.
        presence_MT: float32 object-score logits; ≤ 0 = absent.
        area_MT: float32, share of the frame that the mask covers, 0 … 1.
        prompted_MT: bool, the frame that the track was prompted in.
        boxes_MT4: float32, x0 y0 x1 y1 of the mask in shares of the frame's width and height; 0 where it is empty.
    """

    tokens_MTC: NDArray[np.floating]
    presence_MT: NDArray[np.float32]
    area_MT: NDArray[np.float32]
    prompted_MT: NDArray[np.bool_]
    boxes_MT4: NDArray[np.float32]

    def __post_init__(self) -> None:
        assert self.tokens_MTC.ndim == 3
        for array in (self.presence_MT, self.area_MT, self.prompted_MT, self.boxes_MT4[..., 0]):
            assert array.shape == self.tokens_MTC.shape[:2]

    @classmethod
    def of_tokens(cls, tokens_MTC: NDArray[np.floating]) -> "TrackFeatures":
        """For tracks of which nothing else is known: visible in every frame, of no area, never prompted."""
        shape = tokens_MTC.shape[:2]
        nothing_MT = np.zeros(shape, np.float32)
        presence_MT, boxes_MT4 = np.full(shape, UNCHECKED, np.float32), np.zeros((*shape, 4), np.float32)
        return cls(tokens_MTC, presence_MT, nothing_MT, np.zeros(shape, bool), boxes_MT4)

    @property
    def n_frames(self) -> int:
        return self.tokens_MTC.shape[1]

    @property
    def n_bytes(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))


@dataclass(frozen=True)
class Sample:
    """One expression and the tracks it may refer to.

    Attributes:
        tracks: of the video, shared by all of its samples.
        rows_N: which of them belong to the sample.
        words_WD, mean_D: the expression's word features and their mean.
        iou_N: mean IoU of each track with what is referred to; None where that is not known.
        labels_N: bool, which tracks are referred to; None where it is not known.
        seen_NT: bool, frames in which a track covers what is referred to; None where no loss needs it.
        detections_N2: float32, best and mean score that a detector gave each track for the expression, NaN where it
            said nothing; None where no network asks for it.
    """

    tracks: TrackFeatures
    rows_N: NDArray[np.integer]
    words_WD: NDArray[np.float32]
    mean_D: NDArray[np.float32]
    iou_N: NDArray[np.float32] | None = None
    labels_N: NDArray[np.bool_] | None = None
    seen_NT: NDArray[np.bool_] | None = None
    detections_N2: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        assert self.rows_N.ndim == 1 and self.words_WD.ndim == 2 and self.words_WD.size

    def __len__(self) -> int:
        return len(self.rows_N)

    @property
    def n_tokens(self) -> int:
        return len(self) * self.tracks.n_frames


@dataclass(frozen=True)
class Batch:
    """Padded tensors, floats in float32; masks are True where real.

    Attributes:
        tokens_MTC, presence_MT, area_MT, prompted_MT, boxes_MT4, frames_M: of every track, once; `frames_M` is its
            length.
        tracks_VN, track_mask_VN: the tracks of a scene, 0 at padding.
        scene_B: the scene of a sample.
        words_BWD, word_mask_BW, mean_BD: of every expression.
        iou_BN, labels_BN, seen_BNT: 0 where unknown.
        detections_BN2: best and mean score of a detector, NaN where it said nothing, or was not asked, and at padding.
    """

    tokens_MTC: Tensor
    presence_MT: Tensor
    area_MT: Tensor
    prompted_MT: Tensor
    boxes_MT4: Tensor
    frames_M: Tensor
    tracks_VN: Tensor
    track_mask_VN: Tensor
    scene_B: Tensor
    words_BWD: Tensor
    word_mask_BW: Tensor
    mean_BD: Tensor
    iou_BN: Tensor
    labels_BN: Tensor
    seen_BNT: Tensor
    detections_BN2: Tensor

    def __len__(self) -> int:
        return len(self.scene_B)

    @property
    def track_mask_BN(self) -> Tensor:
        return self.track_mask_VN[self.scene_B]

    @property
    def visible_MT(self) -> Tensor:
        """Real frames in which a track is visible: SAM2 writes one constant token where it is not."""
        return (self.presence_MT > 0) & within(self.frames_M, self.tokens_MTC.shape[1])

    def to(self, device: str) -> "Batch":
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def scenes_of(self, x_M: Tensor) -> Tensor:
        """Per-track values (M, …) as the tracks of each scene (V, N, …); padding holds those of track 0."""
        return x_M[self.tracks_VN]


def collate(samples: Sequence[Sample]) -> Batch:
    """Pads samples of any sizes, each with at least one track, to one batch; samples of one video share its tracks."""
    assert min(map(len, samples)) > 0, "a model never gets samples without a track"
    rows = _used_rows(samples)
    offsets = dict(zip(rows, np.cumsum([0, *map(len, rows.values())])[:-1], strict=True))
    scenes: dict[tuple[TrackFeatures, bytes], int] = {}
    scene_B, tracks_V = [], []
    for sample in samples:
        key = (sample.tracks, sample.rows_N.tobytes())
        if key not in scenes:
            scenes[key] = len(scenes)
            tracks_V.append(np.searchsorted(rows[sample.tracks], sample.rows_N) + offsets[sample.tracks])
        scene_B.append(scenes[key])
    t = max(sample.tracks.n_frames for sample in samples)
    return Batch(
        tokens_MTC=_pad([video.tokens_MTC[r] for video, r in rows.items()], t, np.float32),
        presence_MT=_pad([video.presence_MT[r] for video, r in rows.items()], t, np.float32),
        area_MT=_pad([video.area_MT[r] for video, r in rows.items()], t, np.float32),
        prompted_MT=_pad([video.prompted_MT[r] for video, r in rows.items()], t, np.bool_),
        boxes_MT4=_pad([video.boxes_MT4[r] for video, r in rows.items()], t, np.float32),
        frames_M=torch.from_numpy(np.repeat([video.n_frames for video in rows], [len(r) for r in rows.values()])),
        tracks_VN=_stack(tracks_V, np.int64),
        track_mask_VN=_mask([len(tracks) for tracks in tracks_V]),
        scene_B=torch.tensor(scene_B),
        words_BWD=_stack([sample.words_WD for sample in samples], np.float32),
        word_mask_BW=_mask([len(sample.words_WD) for sample in samples]),
        mean_BD=torch.from_numpy(np.stack([sample.mean_D for sample in samples])),
        iou_BN=_stack([_or_zeros(sample.iou_N, sample) for sample in samples], np.float32),
        labels_BN=_stack([_or_zeros(sample.labels_N, sample) for sample in samples], np.float32),
        seen_BNT=_seen(samples, t),
        detections_BN2=_detections(samples),
    )


def chunks(sizes: Sequence[tuple[int, int, int]], max_tokens: int) -> list[list[int]]:
    """Cuts a row of items into consecutive batches of at most `max_tokens` padded tokens, each of at least one item.

    Args:
        sizes: samples, most tracks and frames of each item.

    Returns:
        The indices of each batch.
    """
    batches: list[list[int]] = []
    samples = tracks = frames = 0
    for i, (b, n, t) in enumerate(sizes):
        tracks, frames, samples = max(tracks, n), max(frames, t), samples + b
        if batches and samples * tracks * frames <= max_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
            samples, tracks, frames = b, n, t
    return batches


def within(length: Tensor, n: int) -> Tensor:
    """Lengths of any shape (…) → (…, n) bool: True within each length."""
    return torch.arange(n, device=length.device) < length[..., None]


def _used_rows(samples: Sequence[Sample]) -> dict[TrackFeatures, NDArray[np.integer]]:
    """The videos of the samples, in order, and which of their tracks any sample uses, ascending."""
    used: dict[TrackFeatures, list[NDArray[np.integer]]] = {}
    for sample in samples:
        used.setdefault(sample.tracks, []).append(sample.rows_N)
    return {video: np.unique(np.concatenate(parts)) for video, parts in used.items()}


def _pad(parts: Sequence[NDArray[np.generic]], t: int, dtype: type[np.generic]) -> Tensor:
    """Parts (m, t', …) one after another, zero beyond their own frames: (M, T, …)."""
    padded = np.zeros((sum(map(len, parts)), t, *parts[0].shape[2:]), dtype)
    start = 0
    for part in parts:
        padded[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return torch.from_numpy(padded)


def _stack(parts: Sequence[NDArray[np.generic]], dtype: type[np.generic]) -> Tensor:
    """Parts (n, …) as rows of one tensor, zero beyond their own length."""
    padded = np.zeros((len(parts), max(map(len, parts)), *parts[0].shape[1:]), dtype)
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(padded)


def _seen(samples: Sequence[Sample], t: int) -> Tensor:
    seen_BNT = np.zeros((len(samples), max(map(len, samples)), t), np.float32)
    for row_NT, sample in zip(seen_BNT, samples, strict=True):
        if sample.seen_NT is not None:
            row_NT[: sample.seen_NT.shape[0], : sample.seen_NT.shape[1]] = sample.seen_NT
    return torch.from_numpy(seen_BNT)


def _detections(samples: Sequence[Sample]) -> Tensor:
    detections_BN2 = np.full((len(samples), max(map(len, samples)), 2), np.nan, np.float32)
    for row_N2, sample in zip(detections_BN2, samples, strict=True):
        if sample.detections_N2 is not None:
            row_N2[: len(sample)] = sample.detections_N2
    return torch.from_numpy(detections_BN2)


def _or_zeros(values_N: NDArray[np.generic] | None, sample: Sample) -> NDArray[np.generic]:
    return np.zeros(len(sample), np.float32) if values_N is None else values_N


def _mask(lengths: Sequence[int]) -> Tensor:
    return within(torch.tensor(lengths), max(lengths))
