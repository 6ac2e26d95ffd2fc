"""The first step of soc: what is cached of a track, and the words, in one width.

Legend: M tracks, T frames, C channels of an object token, B samples, W words, L text width, D width of soc.
"""

import math

import torch
from torch import Tensor, nn

from stages.selectors.batch import Batch

SMALLEST_AREA = 1e-6  # of the frame; keeps the logarithm of an empty mask finite
CERTAINTY = 1.0  # one minus the normalised entropy of the mask's pixels, which the track cache does not keep
LONGEST_WAVE = 10000.0


class TrackEmbedding(nn.Module):
    """F⁰ = LN(W·token) + PE(t) + MLP([σ(presence), certainty, log area, prompt flag])."""

    def __init__(self, token_dim: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(token_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.facts = nn.Sequential(nn.Linear(4, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, batch: Batch) -> Tensor:
        """(M, T, D)."""
        presence_MT = batch.presence_MT.sigmoid()
        facts_MT4 = torch.stack(
            [
                presence_MT,
                torch.full_like(presence_MT, CERTAINTY),
                (batch.area_MT + SMALLEST_AREA).log(),
                batch.prompted_MT.to(presence_MT.dtype),
            ],
            -1,
        )
        f_MTD = self.norm(self.project(batch.tokens_MTC))
        return f_MTD + sine_positions(f_MTD) + self.facts(facts_MT4)


class WordEmbedding(nn.Sequential):
    """E⁰ = LN(W·word): (B, W, L) → (B, W, D)."""

    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__(nn.Linear(text_dim, dim), nn.LayerNorm(dim))


def sine_positions(like_MTD: Tensor) -> Tensor:
    """(T, D): sines and cosines of the frame's index (arXiv 1706.03762)."""
    _, t, d = like_MTD.shape
    frequency_d = torch.exp(torch.arange(0, d, 2, device=like_MTD.device) * (-math.log(LONGEST_WAVE) / d))
    angle_Td = torch.arange(t, device=like_MTD.device)[:, None] * frequency_d
    return torch.cat([angle_Td.sin(), angle_Td.cos()], -1).to(like_MTD.dtype)
