"""InternLM2 (arXiv 2403.17297), plainly: what a checkpoint of it computes, apart from any class of transformers.

Legend: B sequences, L tokens, D width, H heads, K key/value heads, W width of a head.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

EPS, THETA = 1e-5, 1e6


def draw(layers: int, width: int, inner: int, heads: int, groups: int, vocabulary: int) -> dict[str, Tensor]:
    """Random tensors by InternLM2's names."""
    generator = torch.Generator().manual_seed(7)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.1

    head = width // heads
    state = {"model.tok_embeddings.weight": random(vocabulary, width), "output.weight": random(vocabulary, width)}
    state["model.norm.weight"] = 1 + random(width)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        state[at + "attention.wqkv.weight"] = random((heads + 2 * groups) * head, width)
        state[at + "attention.wo.weight"] = random(width, width)
        state[at + "feed_forward.w1.weight"], state[at + "feed_forward.w3.weight"] = (
            random(inner, width),
            random(inner, width),
        )
        state[at + "feed_forward.w2.weight"] = random(width, inner)
        state[at + "attention_norm.weight"], state[at + "ffn_norm.weight"] = 1 + random(width), 1 + random(width)
    return state


def decode(state: Mapping[str, Tensor], embedded_BLD: Tensor, heads: int, groups: int) -> Tensor:
    """(B, L, D): states after the final norm."""
    x_BLD = embedded_BLD
    for layer in range(sum(name.endswith("wqkv.weight") for name in state)):
        at = f"model.layers.{layer}."
        normed = norm(x_BLD, state[at + "attention_norm.weight"])
        x_BLD = x_BLD + attention(state, at + "attention.", normed, heads, groups)
        normed = norm(x_BLD, state[at + "ffn_norm.weight"])
        gate = torch.nn.functional.silu(normed @ state[at + "feed_forward.w1.weight"].T)
        x_BLD = (
            x_BLD + (gate * (normed @ state[at + "feed_forward.w3.weight"].T)) @ state[at + "feed_forward.w2.weight"].T
        )
    return norm(x_BLD, state["model.norm.weight"])


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * weight


def attention(state: Mapping[str, Any], at: str, x_BLD: Tensor, heads: int, groups: int) -> Tensor:
    """Of each key/value head's block of wqkv the first H/K are queries, then a key, then a value."""
    batch, length, width = x_BLD.shape
    joint = (x_BLD @ state[at + "wqkv.weight"].T).view(batch, length, groups, heads // groups + 2, width // heads)
    q = joint[:, :, :, :-2].reshape(batch, length, heads, -1)
    k = joint[:, :, :, -2].repeat_interleave(heads // groups, dim=2)
    v = joint[:, :, :, -1].repeat_interleave(heads // groups, dim=2)
    q, k = rotated(q), rotated(k)
    scores = torch.einsum("blhw,bmhw->bhlm", q, k) / (width // heads) ** 0.5
    scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float("-inf"))
    mixed = torch.einsum("bhlm,bmhw->blhw", scores.softmax(-1), v).reshape(batch, length, width)
    return mixed @ state[at + "wo.weight"].T


def rotated(x_BLHW: Tensor) -> Tensor:
    """Rotary positions, halves of a head's width turned against each other."""
    length, half = x_BLHW.shape[1], x_BLHW.shape[-1] // 2
    angles_LW = torch.arange(length)[:, None] * THETA ** (-torch.arange(half) / half)
    cos, sin = angles_LW.cos()[:, None], angles_LW.sin()[:, None]
    first, second = x_BLHW[..., :half], x_BLHW[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
