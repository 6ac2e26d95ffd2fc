"""SAM2's mask decoder for many single points in one image: the same masks for a fraction of the work.

The stock decoder (Segment Anything, arXiv 2304.02643, section 3) projects every pixel of the image anew for every
point. Here, by algebra alone:
  - before the first layer the image is the same for all points, so its keys, values and queries are computed once;
  - afterwards a few tokens face many pixels, so projections of pixels are folded into the tokens:
    q·(W x) = (Wᵀq)·x, and Σ a (W x) = W Σ a x;
  - the predicted IoU needs no mask, so only points with a mask above the threshold are decoded to masks.

Legend: P points, T tokens per point (outputs and prompt), N pixels of the coarsest level, C channels, D channels inside
attention, H heads, d = D/H, M mask tokens, h × w pixels of the mask logits.
"""

from dataclasses import dataclass
from typing import Any

import torch
from sam2.modeling.sam.transformer import Attention
from sam2.modeling.sam2_base import SAM2Base
from torch.nn import functional as F

from stages.tracking.sam2_model import exact_bias


@dataclass(frozen=True)
class ImageSide:
    """What the decoder reads of an image, computed once for all points.

    Attributes:
        pixels_NC: the image with the prompt encoder's "no mask" added.
        position_NC: position of each pixel, encoded.
        fine, middle: the two finer levels, projected, as (rows·columns·4·4, C/8) and (rows·columns·4, C/4) in the
            order of the upscaled pixels; None where the model has none.
        grid: rows and columns of the coarsest level.
    """

    pixels_NC: torch.Tensor
    position_NC: torch.Tensor
    fine: torch.Tensor | None
    middle: torch.Tensor | None
    grid: tuple[int, int]


@dataclass(frozen=True)
class PointMasks:
    """Masks whose predicted IoU exceeds the threshold, point by point.

    Attributes:
        logits_Shw: float32, S masks at low resolution.
        iou_S: float32, their predicted IoU.
        point_S: index of their point.
    """

    logits_Shw: torch.Tensor
    iou_S: torch.Tensor
    point_S: torch.Tensor


class PointDecoder:
    """The mask decoder of a model; three masks per point (multimask output)."""

    def __init__(self, model: SAM2Base) -> None:
        self._decoder, self._prompts = model.sam_mask_decoder, model.sam_prompt_encoder
        self._transformer = self._decoder.transformer
        assert all(isinstance(layer.self_attn, Attention) for layer in self._transformer.layers)

    def image_side(self, features: dict[str, Any]) -> ImageSide:
        """From the features that sam2's image predictor holds after set_image."""
        image_1Chw, finer = features["image_embed"], features["high_res_feats"]
        dense_1C11 = self._prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        grid = image_1Chw.shape[-2:]
        used = self._decoder.use_high_res_features
        return ImageSide(
            pixels_NC=_rows(image_1Chw + dense_1C11),
            position_NC=_rows(self._prompts.get_dense_pe()),
            fine=_nested(finer[0], 2) if used else None,
            middle=_nested(finer[1], 1) if used else None,
            grid=(int(grid[0]), int(grid[1])),
        )

    def decode(self, image: ImageSide, points_P2: torch.Tensor, iou_min: float) -> PointMasks:
        """Masks of single foreground points.

        Args:
            points_P2: x y in pixels of the model's input.
            iou_min: masks of this predicted IoU or less are left out; 0 keeps all.
        """
        tokens_PTC = self._tokens(points_P2)
        hidden_PTC, pixels_PNC = self._transform(image, tokens_PTC)
        first = int(self._decoder.pred_obj_scores)
        iou_PM = self._decoder.iou_prediction_head(hidden_PTC[:, first])[:, 1:].float()
        kept_PM = iou_PM > iou_min if iou_min > 0 else torch.ones_like(iou_PM, dtype=torch.bool)
        point_K = kept_PM.any(1).nonzero()[:, 0]
        masks_KMC = hidden_PTC[point_K, first + 2 : first + 1 + self._decoder.num_mask_tokens]
        logits_KMhw = self._upscale(image, pixels_PNC[point_K], masks_KMC)
        return PointMasks(logits_KMhw[kept_PM[point_K]], iou_PM[kept_PM], kept_PM.nonzero()[:, 0])

    def _tokens(self, points_P2: torch.Tensor) -> torch.Tensor:
        """Output tokens, the point and its padding."""
        decoder = self._decoder
        labels_P1 = torch.ones(len(points_P2), 1, dtype=torch.int, device=points_P2.device)
        sparse_PSC, _ = self._prompts(points=(points_P2[:, None], labels_P1), boxes=None, masks=None)
        scores = [decoder.obj_score_token.weight] if decoder.pred_obj_scores else []
        outputs_OC = torch.cat([*scores, decoder.iou_token.weight, decoder.mask_tokens.weight])
        return torch.cat([outputs_OC.expand(len(points_P2), -1, -1), sparse_PSC], 1)

    def _transform(self, image: ImageSide, tokens_PTC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """TwoWayTransformer.forward: the tokens and the image of every point."""
        hidden_PTC, pixels_PNC = tokens_PTC, image.pixels_NC[None]
        for layer in self._transformer.layers:
            hidden_PTC, pixels_PNC = _two_way(layer, hidden_PTC, pixels_PNC, tokens_PTC, image.position_NC)
        final = self._transformer.final_attn_token_to_image
        attended_PTC = _to_image(final, hidden_PTC + tokens_PTC, pixels_PNC, pixels_PNC + image.position_NC)
        return self._transformer.norm_final_attn(hidden_PTC + attended_PTC), pixels_PNC

    def _upscale(self, image: ImageSide, pixels_KNC: torch.Tensor, masks_KMC: torch.Tensor) -> torch.Tensor:
        """Mask logits (K, M, h, w). Its transposed convolutions do not overlap, so they are products by pixel."""
        first, norm, act, second, act_fine = self._decoder.output_upscaling
        middle = _split_pixels(first, pixels_KNC)
        middle = middle if image.middle is None else middle + image.middle
        middle = act(F.layer_norm(middle, middle.shape[-1:], norm.weight, norm.bias, norm.eps))
        fine = _split_pixels(second, middle)
        fine = act_fine(fine if image.fine is None else fine + image.fine)
        networks = list(self._decoder.output_hypernetworks_mlps)[1:]
        hyper_KMC = torch.stack([network(masks_KMC[:, m]) for m, network in enumerate(networks)], 1)
        flat_KML = hyper_KMC @ fine.transpose(1, 2)
        rows, columns = image.grid
        logits = flat_KML.view(*flat_KML.shape[:2], rows, columns, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return logits.reshape(*flat_KML.shape[:2], 4 * rows, 4 * columns).float()


def _two_way(
    layer: Any, hidden_PTC: torch.Tensor, pixels_PNC: torch.Tensor, tokens_PTC: torch.Tensor, position_NC: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """TwoWayAttentionBlock.forward; `pixels_PNC` is (1, N, C) as long as all points share them."""
    if layer.skip_first_layer_pe:
        hidden_PTC = layer.self_attn(q=hidden_PTC, k=hidden_PTC, v=hidden_PTC)
    else:
        placed_PTC = hidden_PTC + tokens_PTC
        hidden_PTC = hidden_PTC + layer.self_attn(q=placed_PTC, k=placed_PTC, v=hidden_PTC)
    hidden_PTC = layer.norm1(hidden_PTC)
    placed_PNC = pixels_PNC + position_NC
    hidden_PTC = hidden_PTC + _to_image(
        layer.cross_attn_token_to_image, hidden_PTC + tokens_PTC, pixels_PNC, placed_PNC
    )
    hidden_PTC = layer.norm2(hidden_PTC)
    hidden_PTC = layer.norm3(hidden_PTC + layer.mlp(hidden_PTC))
    attention = layer.cross_attn_image_to_token
    pixels_PNC = _add_to_pixels(attention, pixels_PNC, placed_PNC, hidden_PTC + tokens_PTC, hidden_PTC)
    return hidden_PTC, layer.norm4(pixels_PNC)


def _to_image(
    attention: Attention, queries_PTC: torch.Tensor, pixels_PNC: torch.Tensor, placed_PNC: torch.Tensor
) -> torch.Tensor:
    """Tokens attend to pixels: keys are `placed_PNC`, values `pixels_PNC`. The keys' bias changes no softmax."""
    queries_PHTd = _heads(attention, attention.q_proj(queries_PTC))
    points, heads, tokens, _ = queries_PHTd.shape
    if len(pixels_PNC) == 1:  # shared: the projections of the image are computed once
        keys_1HNd, values_1HNd = (
            _heads(attention, attention.k_proj(placed_PNC)),
            _heads(attention, attention.v_proj(pixels_PNC)),
        )
        flat_1Hqd = queries_PHTd.transpose(0, 1).reshape(1, heads, points * tokens, -1)
        attended_1Hqd = F.scaled_dot_product_attention(flat_1Hqd, keys_1HNd, values_1HNd)
        attended_PHTd = attended_1Hqd.view(heads, points, tokens, -1).transpose(0, 1)
    else:
        key_HdC, value_HdC = (_weights(attention, p) for p in (attention.k_proj, attention.v_proj))
        folded_PqC = (queries_PHTd @ key_HdC).reshape(points, heads * tokens, -1) * queries_PHTd.shape[-1] ** -0.5
        share_PqN = (folded_PqC @ placed_PNC.transpose(1, 2)).softmax(-1)
        mean_PHTC = (share_PqN @ pixels_PNC).view(points, heads, tokens, -1)
        attended_PHTd = mean_PHTC @ value_HdC.transpose(1, 2) + exact_bias(attention.v_proj).view(heads, 1, -1)
    return attention.out_proj(attended_PHTd.transpose(1, 2).reshape(points, tokens, -1))


def _add_to_pixels(
    attention: Attention,
    pixels_PNC: torch.Tensor,
    placed_PNC: torch.Tensor,
    keys_PTC: torch.Tensor,
    values_PTC: torch.Tensor,
) -> torch.Tensor:
    """Pixels attend to tokens; the result is added to them."""
    keys_PHTd = _heads(attention, attention.k_proj(keys_PTC)) * (attention.internal_dim // attention.num_heads) ** -0.5
    values_PHTd = _heads(attention, attention.v_proj(values_PTC))
    points, heads, tokens, _ = keys_PHTd.shape
    query_HdC, bias_Hd1 = _weights(attention, attention.q_proj), attention.q_proj.bias.view(heads, -1, 1)
    folded_PqC = (keys_PHTd @ query_HdC).reshape(points, heads * tokens, -1)
    bias_Pq1 = (keys_PHTd @ bias_Hd1).reshape(points, heads * tokens, 1)
    if len(pixels_PNC) == 1:
        scores_PqN = (folded_PqC.flatten(0, 1) @ placed_PNC[0].T).view(points, heads * tokens, -1) + bias_Pq1
    else:
        scores_PqN = folded_PqC @ placed_PNC.transpose(1, 2) + bias_Pq1
    share_PqN = scores_PqN.unflatten(1, (heads, tokens)).softmax(2).flatten(1, 2)
    out_HdC = attention.out_proj.weight.T.reshape(heads, -1, attention.embedding_dim)
    # Every pixel's shares add up to 1 per head, so each value can carry a part of the output's bias.
    values_PqC = ((values_PHTd @ out_HdC) + exact_bias(attention.out_proj) / heads).reshape(points, heads * tokens, -1)
    return pixels_PNC + share_PqN.transpose(1, 2) @ values_PqC


def _heads(attention: Attention, projected_PLD: torch.Tensor) -> torch.Tensor:
    """(P, L, D) → (P, H, L, d)."""
    return projected_PLD.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)


def _weights(attention: Attention, projection: torch.nn.Linear) -> torch.Tensor:
    """(D, C) → (H, d, C)."""
    return projection.weight.unflatten(0, (attention.num_heads, -1))


def _rows(image_1Chw: torch.Tensor) -> torch.Tensor:
    return image_1Chw[0].flatten(1).T.contiguous()


def _split_pixels(convolution: torch.nn.ConvTranspose2d, pixels_KLC: torch.Tensor) -> torch.Tensor:
    """A transposed convolution of kernel and stride 2: each pixel becomes 2 × 2 consecutive ones."""
    assert convolution.bias is not None
    weight_CO = convolution.weight.permute(0, 2, 3, 1).flatten(1)
    split = F.linear(pixels_KLC, weight_CO.T, convolution.bias.repeat(4))
    return split.view(len(pixels_KLC), 4 * pixels_KLC.shape[1], convolution.out_channels)


def _nested(level_1Chw: torch.Tensor, times: int) -> torch.Tensor:
    """A finer level's pixels (L, C) in the order in which `_split_pixels` makes them, applied `times` times."""
    pixels_Chw = level_1Chw[0]
    channels, height, width = pixels_Chw.shape
    cell = 2**times
    shape = (channels, height // cell, *[2] * times, width // cell, *[2] * times)
    rows, columns = 1, 2 + times
    order = [rows, columns, *(axis + i for i in range(1, times + 1) for axis in (rows, columns))]
    return pixels_Chw.reshape(shape).permute(*order, 0).reshape(-1, channels).contiguous()
