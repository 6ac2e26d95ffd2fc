"""Initial weights from which the detector soon tells objects from background, and words from each other.

With transformers' own initial weights (normal, 0.02) a model this small hardly passes a signal on. These changes are of
initial values, none of structure:

1. Linear layers as in DETR (xavier), fusion at a tenth instead of a ten-thousandth.
2. One channel of queries and words is constant, so that every pair starts at a low score (the focal prior).
3. Swin's heads start by attending to neighbours, each in another direction, as a convolution does (d'Ascoli et al.,
   ConViT, arXiv 2103.10697).
4. Proposals start at the size of the objects in this data set.
"""

import math
from typing import Any

import torch
from torch import nn

FUSION = 0.1
PRIOR = 2.1  # scores start at sigmoid(−PRIOR²)
WORD_GAIN = 0.1
LOCALITY = 1.0
QUERY_SCALE = 0.2
LARGER = 1.0  # in logits: 0.05 of the image at stride 8 becomes 0.125


@torch.no_grad()
def prepare(model: Any) -> None:
    """Changes the initial weights of a GroundingDinoForObjectDetection in place."""
    core = model.model
    for part in (core.encoder, core.decoder):
        _xavier(part)
    for module in (core.enc_output, core.text_projection):
        nn.init.xavier_uniform_(module.weight)
    for layer in core.encoder.layers:
        layer.fusion_layer.vision_param.fill_(FUSION)
        layer.fusion_layer.text_param.fill_(FUSION)
    nn.init.normal_(core.query_position_embeddings.weight, std=QUERY_SCALE)
    words = core.encoder.layers[-1].text_enhancer_layer.layer_norm_after
    words.weight.fill_(WORD_GAIN)
    for norm, constant in ((words, -PRIOR), (core.enc_output_norm, PRIOR), (core.decoder.layer_norm, PRIOR)):
        norm.weight[-1], norm.bias[-1] = 0.0, constant
    core.encoder_output_bbox_embed.layers[-1].bias[2:] = LARGER
    _prepare_swin(core.backbone.conv_encoder.model)


def _xavier(part: nn.Module) -> None:
    """All but those that must start at zero: offsets and weights of deformable attention, last layers of box heads."""
    for name, module in part.named_modules():
        zero = name.endswith(("sampling_offsets", "attention_weights")) or ("bbox_embed" in name and name.endswith("2"))
        if isinstance(module, nn.Linear) and not zero:
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


def _prepare_swin(swin: nn.Module) -> None:
    for module in swin.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
    for name, table_PH in swin.named_parameters():
        if name.endswith("relative_position_bias_table"):
            table_PH.copy_(_neighbours(*table_PH.shape))


def _neighbours(n_places: int, n_heads: int) -> torch.Tensor:
    """(places, heads) biases that fall with the squared distance from a head's own neighbour."""
    side = math.isqrt(n_places)
    away_S = torch.arange(side) - side // 2
    away_P2 = torch.cartesian_prod(away_S, away_S).float()
    turn_H = torch.arange(n_heads) * (2 * math.pi / n_heads)
    neighbour_H2 = torch.stack([turn_H.sin(), turn_H.cos()], 1).round()
    distance_PH = (away_P2[:, None] - neighbour_H2).square().sum(2)
    return -LOCALITY * distance_PH
