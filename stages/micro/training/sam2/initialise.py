"""Initial weights from which the model soon attends to where the prompt points.

With the package's own initial weights, a model this small spends most of a short training on a plateau where
masks do not depend on prompts. Four changes of initial values, none of structure:

1. Prompt kinds and output tokens are small compared with position encodings, and the tokens' self-attention
   passes values on unchanged: every output token gets the position of the prompt.
2. Keys and queries between tokens and image are tied, with a gain: tokens attend near their position.
3. Rotary attention has a prior for the same position (a bias of queries and keys on the fast frequencies).
4. Box corners and clicks are told apart by small embeddings, learned from there.
"""

from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import nn

PROMPT_SCALE = 0.2
TOKEN_SCALE = 0.2
TIED_GAIN = 2.5
LOCALITY = 1.5
FAST = 16  # of the 64 rotary frequencies of an axis; the rest hardly turn within 8 tokens


@torch.no_grad()
def prepare(model: SAM2Base) -> None:
    """Changes the initial weights in place."""
    _soften_tokens(model)
    for block in model.sam_mask_decoder.transformer.layers:
        _pass_values(block.self_attn)
        _tie(block.cross_attn_token_to_image)
        _tie(block.cross_attn_image_to_token)
    _tie(model.sam_mask_decoder.transformer.final_attn_token_to_image)
    for layer in model.memory_attention.layers:
        _prefer_same_place(layer.self_attn)
        _prefer_same_place(layer.cross_attn_image)


def _soften_tokens(model: SAM2Base) -> None:
    prompts, decoder = model.sam_prompt_encoder, model.sam_mask_decoder
    for embedding in (*prompts.point_embeddings, prompts.not_a_point_embed, prompts.no_mask_embed):
        embedding.weight.mul_(PROMPT_SCALE)
    for token in (decoder.iou_token, decoder.mask_tokens, decoder.obj_score_token):
        token.weight.mul_(TOKEN_SCALE)


def _pass_values(attention: Any) -> None:
    nn.init.orthogonal_(attention.v_proj.weight)
    attention.out_proj.weight.copy_(attention.v_proj.weight.T)
    nn.init.zeros_(attention.v_proj.bias)
    nn.init.zeros_(attention.out_proj.bias)


def _tie(attention: Any) -> None:
    attention.q_proj.weight.mul_(TIED_GAIN)
    attention.k_proj.weight.copy_(attention.q_proj.weight)


def _prefer_same_place(attention: Any) -> None:
    per_axis = attention.internal_dim // attention.num_heads // 4
    real = [2 * (axis * per_axis + i) for axis in range(2) for i in range(FAST)]
    for projection in (attention.q_proj, attention.k_proj):
        projection.bias.zero_()
        projection.bias[real] = LOCALITY
