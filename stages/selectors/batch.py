"""Samples of a selector, and padded batches of them.

Legend: B samples, M tracks of a video, N of them that an expression may mean, T frames, C channels of an object token, W words, D text width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """One expression and the tracks it may mean.

    Attributes:
        tokens_MTC: object tokens of the video's tracks, shared by all of its samples.
        rows_N: which of them are the sample's.
        words_WD, mean_D: the expression's word features and their mean.
        labels_N: bool, which tracks are referred to; None where it is not known.
    """

    tokens_MTC: NDArray[np.floating]
    rows_N: NDArray[np.integer]
    words_WD: NDArray[np.float32]
    mean_D: NDArray[np.float32]
    labels_N: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        assert self.tokens_MTC.ndim == 3 and self.rows_N.ndim == 1
        assert self.words_WD.ndim == 2 and self.words_WD.size

    def __len__(self) -> int:
        return len(self.rows_N)


@dataclass(frozen=True)
class Batch:
    """Padded float32 tensors; masks are True where real. `frames_B` are the samples' own lengths."""

    tokens_BNTC: Tensor
    track_mask_BN: Tensor
    frames_B: Tensor
    words_BWD: Tensor
    word_mask_BW: Tensor
    mean_BD: Tensor
    labels_BN: Tensor

    def __len__(self) -> int:
        return len(self.tokens_BNTC)

    def to(self, device: str) -> "Batch":
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def collate(samples: Sequence[Sample]) -> Batch:
    """Pads samples of any sizes, each with a track at least, to one batch; unknown labels become 0."""
    n_B = [len(sample) for sample in samples]
    assert min(n_B) > 0, "samples without a track never reach a model"
    t_B = [sample.tokens_MTC.shape[1] for sample in samples]
    w_B = [sample.words_WD.shape[0] for sample in samples]
    b, c, d = len(samples), samples[0].tokens_MTC.shape[2], samples[0].words_WD.shape[1]
    tokens_BNTC = np.zeros((b, max(n_B), max(t_B), c), np.float32)
    words_BWD = np.zeros((b, max(w_B), d), np.float32)
    labels_BN = np.zeros((b, max(n_B)), np.float32)
    for i, sample in enumerate(samples):
        tokens_BNTC[i, : n_B[i], : t_B[i]] = sample.tokens_MTC[sample.rows_N]
        words_BWD[i, : w_B[i]] = sample.words_WD
        if sample.labels_N is not None:
            labels_BN[i, : n_B[i]] = sample.labels_N
    return Batch(
        tokens_BNTC=torch.from_numpy(tokens_BNTC),
        track_mask_BN=_mask(n_B),
        frames_B=torch.tensor(t_B),
        words_BWD=torch.from_numpy(words_BWD),
        word_mask_BW=_mask(w_B),
        mean_BD=torch.from_numpy(np.stack([sample.mean_D for sample in samples])),
        labels_BN=torch.from_numpy(labels_BN),
    )


def chunks(samples: Sequence[Sample], max_tokens: int) -> list[list[int]]:
    """Indices of samples in consecutive batches of at most `max_tokens` padded tokens (one sample at least)."""
    batches: list[list[int]] = []
    tracks = frames = 0
    for i, sample in enumerate(samples):
        n, t = len(sample), sample.tokens_MTC.shape[1]
        tracks, frames = max(tracks, n), max(frames, t)
        if batches and (len(batches[-1]) + 1) * tracks * frames <= max_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
            tracks, frames = n, t
    return batches


def _mask(lengths: Sequence[int]) -> Tensor:
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
