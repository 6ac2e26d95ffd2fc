"""A frame's features conditioned on the memories of many tracks: SAM2's memory attention, in lock step.

The sam2 package's own modules and weights, arranged for a batch of tracks on one frame. What does not depend
on the track is computed once per frame: the first layer's self-attention and queries. Everything but the
cross-attention itself runs on all tracks together; the cross-attention runs bucket by bucket, because tracks
of different age read different numbers of memories. Pointer tokens come last and are not rotated.

Legend: B tracks, b tracks of a bucket, L = h·w tokens of a frame, C = 256 channels, M memories, P pointers,
D = 64 channels of a memory, T = M·L, t = C/D tokens of a pointer, K = T + P·t keys, A ages, R = 7 places of a memory, F = C/2 complex pairs.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base
from sam2.modeling.sam2_utils import get_1d_sine_pe
from torch import Tensor

from stages.tracking.bank import Recalled
from stages.tracking.compiler import Compiler
from stages.tracking.rotary import Rotary
from stages.tracking.transfers import to_device

ROWS = 256  # queries at a time on the CPU
Keys = tuple[Tensor, Tensor, int]  # see Conditioner.keys
Attention = Any  # sam2.modeling.sam.transformer.RoPEAttention


class Conditioner:
    """The memory attention of `model` for videos of `n_frames` frames.

    Args:
        position_1DHW: the memory encoder's position encoding of one memory.
    """

    def __init__(self, model: SAM2Base, n_frames: int, position_1DHW: Tensor, compiler: Compiler) -> None:
        self.attention = model.memory_attention
        # A memory's place: the prompt's is the last temporal encoding, a frame of age a has number a − 1.
        times_R1D = model.maskmem_tpos_enc[:, 0]
        places_1LD = position_1DHW.flatten(2).transpose(1, 2)
        self.place_RLD = (places_1LD + torch.cat([times_R1D[-1:], times_R1D[:-1]])).contiguous()
        depth = self.place_RLD.shape[-1]  # a pointer is as many tokens of a memory's channels as it fills
        self.age_AtD = pointer_positions(model, n_frames)[:, None].repeat(1, model.hidden_dim // depth, 1)
        side_h, side_w = position_1DHW.shape[-2:]
        cross = self.attention.layers[0].cross_attn_image
        self._attend_self, self._feed_forward = compiler(attend_self), compiler(feed_forward)
        rotation_LF = to_device(cross.compute_cis(end_x=side_w, end_y=side_h), position_1DHW.device)
        self.rotary = Rotary(rotation_LF, fused=compiler.backend is None and compiler.fused)

    def __call__(self, top_1LC: Tensor, position_1LC: Tensor, keys: Sequence[Keys]) -> Tensor:
        """Conditioned features (B, L, C), the tracks in the order of the buckets that `keys` are of."""
        x = top_1LC + 0.1 * position_1LC if self.attention.pos_enc_at_input else top_1LC
        for layer in self.attention.layers:
            x = self._attend_self(layer, x, position_1LC, self.rotary)
            x = self._attend_memories(layer, x, position_1LC, keys)
            x = self._feed_forward(layer, x)
        return self.attention.norm(x)

    def keys(self, bucket: Recalled) -> Keys:
        """Inputs of the keys' and the values' projections (b, K, D), and how many pointer tokens end them.

        In the precision of the projections: the same numbers serve all layers.
        """
        memory_bTD = bucket.memory_BMLD.flatten(1, 2)
        pointer_bPD = bucket.pointer_BPC.unflatten(2, (-1, memory_bTD.shape[-1])).flatten(1, 2)
        layer = self.attention.layers[0]
        dtype = layer.cross_attn_image.v_proj.weight.dtype
        memory_bKD = torch.cat([memory_bTD.to(dtype), pointer_bPD.to(dtype)], 1)
        if not layer.pos_enc_at_cross_attn_keys:
            return memory_bKD, memory_bKD, pointer_bPD.shape[1]
        placed_bKD = torch.empty_like(memory_bKD)
        n = memory_bTD.shape[1]  # a sum is rounded once, to the precision that it is written in
        torch.add(memory_bTD, self.place_RLD[bucket.age_BM].flatten(1, 2), out=placed_bKD[:, :n])
        torch.add(pointer_bPD, self.age_AtD[bucket.pointer_age_BP].flatten(1, 2), out=placed_bKD[:, n:])
        return placed_bKD, memory_bKD, pointer_bPD.shape[1]

    def _attend_memories(self, layer: Any, x_BLC: Tensor, position_1LC: Tensor, keys: Sequence[Keys]) -> Tensor:
        normed, cross = layer.norm2(x_BLC), layer.cross_attn_image
        q = project(cross, "q_proj", normed + position_1LC if layer.pos_enc_at_cross_attn_queries else normed)
        attended_bLC, start = [], 0
        for placed_bKD, memory_bKD, n_pointers in keys:
            b = len(memory_bKD)
            own_q = q[start : start + b] if len(q) > 1 else q.clone() if len(keys) > 1 else q
            own_q, k = self.rotary(own_q, project(cross, "k_proj", placed_bKD), n_pointers)
            if is_absorbed(cross, q):
                attended_bLC.append(attend_absorbed(cross, own_q, k, memory_bKD))
            else:
                attended_bLC.append(attend(cross, own_q, k, project(cross, "v_proj", memory_bKD)))
            start += b
        return x_BLC + (torch.cat(attended_bLC) if len(attended_bLC) > 1 else attended_bLC[0])


def pointer_positions(model: SAM2Base, n_frames: int) -> Tensor:
    """What is added to a pointer's tokens by age, (A, D) for ages 0 … n_frames − 1.

    The divisor is that of the whole video, min(frames, 16) − 1. SAM 2.0 adds nothing.
    """
    ages_A = torch.arange(n_frames, device=model.device)
    if not model.add_tpos_enc_to_obj_ptrs:
        return torch.zeros(n_frames, model.mem_dim, device=model.device)
    divisor = max(1, min(n_frames, model.max_obj_ptrs_in_encoder) - 1)
    width = model.hidden_dim if model.proj_tpos_enc_in_obj_ptrs else model.mem_dim
    return model.obj_ptr_tpos_proj(get_1d_sine_pe(ages_A / divisor, dim=width))


def attend_self(layer: Any, x_BLC: Tensor, position_1LC: Tensor, rotary: Rotary) -> Tensor:
    """A layer's self-attention among the tokens of the frame."""
    attention, exact = layer.self_attn, layer.norm1(x_BLC)
    normed = exact.to(attention.v_proj.weight.dtype)  # once for all projections
    place = exact + position_1LC if layer.pos_enc_at_attn else normed
    q, k = rotary(project(attention, "q_proj", place), project(attention, "k_proj", place))
    return x_BLC + attend(attention, q, k, project(attention, "v_proj", normed))


def feed_forward(layer: Any, x_BLC: Tensor) -> Tensor:
    hidden = layer.linear1(layer.norm3(x_BLC))
    hidden = hidden.relu_() if layer.activation is F.relu else layer.activation(hidden)
    return x_BLC + layer.linear2(hidden)


def project(attention: Attention, name: str, x_BLC: Tensor) -> Tensor:
    """One of an attention's projections, as heads: (B, heads, L, channels per head)."""
    return attention._separate_heads(getattr(attention, name)(x_BLC), attention.num_heads)


def attend(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention and its output projection, (B, L, C)."""
    if len(q) < len(k):
        q = q.expand(len(k), -1, -1, -1).contiguous()  # not every kernel takes them expanded
    attended = F.scaled_dot_product_attention(q, k, v)
    return attention.out_proj(attention._recombine_heads(attended))


def is_absorbed(attention: Attention, q: Tensor) -> bool:
    """Where plain matrix products beat the fused kernel, which wants values as wide as keys."""
    return q.device.type == "cpu" and q.dtype == torch.float32 and attention.num_heads == 1


def attend_absorbed(attention: Attention, q_B1LC: Tensor, k_b1KC: Tensor, memory_bKD: Tensor) -> Tensor:
    """The same attention with the value projection after it: weights sum to 1, so that A (M W + b) = (A M) W + b.

    Values have D = 64 channels instead of 256. Few rows at a time: their weights stay in the processor's cache.
    """
    q_b1LC = q_B1LC.expand(len(k_b1KC), -1, -1, -1)
    gathered_bLD = q_b1LC.new_empty(len(q_b1LC), q_b1LC.shape[2], memory_bKD.shape[-1])
    for q_1LC, k_1KC, memory_KD, gathered_LD in zip(q_b1LC, k_b1KC, memory_bKD, gathered_bLD):
        scaled_LC = q_1LC[0] * q_1LC.shape[-1] ** -0.5
        for rows in range(0, len(gathered_LD), ROWS):
            part = slice(rows, rows + ROWS)
            torch.mm((scaled_LC[part] @ k_1KC[0].t()).softmax(-1), memory_KD, out=gathered_LD[part])
    return attention.out_proj(attention.v_proj(gathered_bLD))
