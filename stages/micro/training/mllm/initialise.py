"""Start values without which numbers and names stay unread for a long time."""

from typing import Any

import torch
from torch import Tensor

from stages.micro.tokenizer import COORDINATES

FREQUENCIES = 12
SCALE, SPREAD = 0.03, 0.04
TIED_HEADS = 2  # of each layer
SLOW_FROM = 5  # rotary channels from here on hardly turn within a hundred tokens
RESIDUAL = 0.3  # of what layers add: at the start a word is still itself after a layer, not the mean of what it saw


def prepare(model: Any, tokenizer: Any) -> None:
    """Coordinates begin as smooth scales, layers add little, and some heads of each look for what is alike."""
    language = model.model.language_model
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for axis in COORDINATES:
            first = tokenizer.convert_tokens_to_ids(f"{axis}0")
            language.embed_tokens.weight[first : first + 100] = smooth_scale(
                100, language.embed_tokens.weight.shape[1], generator
            )
        for layer in language.layers:
            layer.self_attn.o_proj.weight *= RESIDUAL
            layer.mlp.down_proj.weight *= RESIDUAL
            _tie(layer.self_attn)


def _tie(attention: Any) -> None:
    """Queries and keys of some heads are the same function of what does not turn with the distance."""
    half = attention.head_dim // 2
    for head in range(TIED_HEADS):
        rows = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
        for fast in (slice(0, SLOW_FROM), slice(half, half + SLOW_FROM)):
            attention.q_proj.weight[rows][fast] = 0
        attention.k_proj.weight[rows] = attention.q_proj.weight[rows]


def smooth_scale(count: int, hidden: int, generator: torch.Generator) -> Tensor:
    """(count, hidden): a ramp and waves of falling amplitude, in random directions: near numbers are near vectors."""
    u_N1 = torch.linspace(0, 1, count)[:, None]
    waves_F = 0.5 * torch.arange(1, FREQUENCIES + 1)
    angles_NF = u_N1 * waves_F * torch.pi
    basis_NK = torch.cat([angles_NF.sin() / waves_F, angles_NF.cos() / waves_F, 4 * (u_N1 - 0.5)], 1)
    directions_KD = torch.randn(basis_NK.shape[1], hidden, generator=generator)
    return SCALE * basis_NK @ directions_KD + SPREAD * torch.randn(hidden, generator=generator)
