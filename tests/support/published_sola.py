"""The published SOLA, written plainly: its scores of one sample, straight from the formulas, and its checkpoint.

Tensor names: N tracks, T frames, S steps, W words, C token width, D text width, L rows of any kind.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.selectors.sola.model import Sola
from stages.selectors.sola.settings import SolaModel
from stages.tools.import_checkpoint import PLAIN

TOKEN, TEXT = 256, 96  # widths of a token as published, and of a word
PUBLISHED = SolaModel(
    hidden_dim=512, n_layers=2, n_heads=8, n_groups=8, n_negatives=32, dropout=0.2, attention_dropout=0.1
)


def plain_scores(p: Mapping[str, Tensor], model: SolaModel, x_NTC: Tensor, words_WD: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N,) and pooled tokens (N, D) of one unpadded sample, straight from the formulas."""
    x = x_NTC.transpose(1, 2)
    for conv, stride in ((0, 2), (4, 2), (8, 2), (12, 1), (16, 1)):
        x = plain_conv(p, conv, x, stride, 1)
        weight, bias = (p[f"short_motion_encoder.{conv + 1}.{name}"] for name in ("weight", "bias"))
        x = F.leaky_relu(F.group_norm(x, model.n_groups, weight, bias), 0.01)
    x = plain_conv(p, 20, x, 1, 0).transpose(1, 2)
    steps = x.shape[1]
    phase = 2 * math.pi * (torch.arange(steps)[:, None] / 100) @ p["positional_encoding_gaussian_matrix"]
    position = torch.cat([phase.sin(), phase.cos()], -1)
    language = torch.cat([words_WD, p["negative_token.weight"]])
    for i in range(model.n_layers):
        prefix = f"object_lang_align_layers.{i}."
        own = {name.removeprefix(prefix): tensor for name, tensor in p.items() if name.startswith(prefix)}
        x = plain_layer(own, model, x, position, language)
    score_NS = torch.stack([torch.stack([(language @ token).mean() for token in track]) for track in x])
    z_ND = (x * score_NS.softmax(-1)[..., None]).sum(1)
    return (z_ND @ language.T).mean(-1), z_ND


def plain_conv(p: Mapping[str, Tensor], index: int, x: Tensor, stride: int, padding: int) -> Tensor:
    weight = p[f"short_motion_encoder.{index}.weight"]
    rows = weight.reshape(len(weight), -1)
    rows = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-5)
    return F.conv1d(x, rows.reshape(weight.shape), p[f"short_motion_encoder.{index}.bias"], stride, padding)


def plain_layer(p: Mapping[str, Tensor], model: SolaModel, x_NSD: Tensor, position: Tensor, language: Tensor) -> Tensor:
    def norm(index: int, x_LD: Tensor) -> Tensor:
        return F.group_norm(x_LD.T[None], model.n_groups, p[f"norm.{index}.weight"], p[f"norm.{index}.bias"])[0].T

    def attention(name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return plain_attention(p, name, model.n_heads, q, k, v)

    n, s, d = x_NSD.shape
    out = torch.empty_like(x_NSD)
    for t in range(s):  # over the tracks of one step
        y_ND = x_NSD[:, t]
        out[:, t] = norm(0, y_ND + attention("obj_attn", y_ND, y_ND, y_ND))
    for i in range(n):  # over the steps of one track
        placed = out[i] + position
        out[i] = norm(1, out[i] + attention("motion_attn", placed, placed, out[i]))
    tokens = out.reshape(n * s, d)
    tokens = norm(2, tokens + attention("object2lang_attn", tokens, language, language))
    return tokens.reshape(n, s, d)


def plain_attention(p: Mapping[str, Tensor], name: str, n_heads: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    projected = [x @ p[f"{name}.{r}_proj.weight"].T + p[f"{name}.{r}_proj.bias"] for r, x in zip("qkv", (q, k, v))]
    heads = []
    for q_h, k_h, v_h in zip(*(x.chunk(n_heads, dim=1) for x in projected)):
        heads.append((q_h @ k_h.T / math.sqrt(q_h.shape[1])).softmax(-1) @ v_h)
    return torch.cat(heads, 1) @ p[f"{name}.out_proj.weight"].T + p[f"{name}.out_proj.bias"]


def published_names() -> set[str]:
    names = {"negative_token.weight", "positional_encoding_gaussian_matrix"}
    for index in (0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20):
        names |= {f"short_motion_encoder.{index}.{kind}" for kind in ("weight", "bias")}
    for i in range(2):
        layer = f"object_lang_align_layers.{i}"
        for attention in ("obj_attn", "motion_attn", "object2lang_attn"):
            for r in "qkv":
                names |= {f"{layer}.{attention}.{r}_proj.{kind}" for kind in ("weight", "bias")}
            names |= {f"{layer}.{attention}.out_proj.{kind}" for kind in ("weight", "bias")}
        names |= {f"{layer}.norm.{k}.{kind}" for k in range(3) for kind in ("weight", "bias")}
    return names


def published_state(model: SolaModel = PUBLISHED, seed: int = 0) -> dict[str, Tensor]:
    """Random everywhere, under the names of the published code."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Sola(TOKEN, TEXT, model, PLAIN).state_dict().items()}
    assert model.n_layers != 2 or shapes.keys() == published_names()
    return {
        name: torch.randn(shape, generator=generator) * (0.05 if len(shape) > 1 else 0.3)
        + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        for name, shape in shapes.items()
    }
