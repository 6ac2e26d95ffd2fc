"""SOLA: language-aligned track selection (arXiv 2412.01136), over padded batches.

Legend: B samples, M tracks, V scenes, N tracks of a scene, T frames, S = ⌈T/8⌉ steps, C = 256 channels of an
object token, W words, K words and negatives, D text width.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.core.config.sections import Selector, Tda
from stages.selectors.batch import Batch, within
from stages.selectors.losses import selection_losses
from stages.selectors.network import Losses, Network, Output
from stages.selectors.sola.alignment_layer import ObjectLanguageAlignmentLayer
from stages.selectors.sola.motion_encoder import ShortMotionEncoder
from stages.selectors.sola.settings import SolaModel
from stages.selectors.tda import aggregate
from stages.training.arithmetic import no_autocast

MAX_TEMPORAL_LENGTH = 100  # steps that the temporal position is divided by; fixed in the published code
STRIDE = 8  # frames a step


class Sola(Network):
    """One logit a track: how well it matches the expression.

    Parameter names are those of the published code, one to one. Scores of a padded batch are those of
    each sample alone: norms, attention and means leave padding out, and convolutions see zeros beyond
    each track's own end. What knows no words is computed once for all expressions of a video: the motion
    encoder once a track, the first layer's attention between tracks and over time once a scene. In
    training they so share a draw of dropout; the expected gradient is that of draws of their own.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, token_dim: int, text_dim: int, config: SolaModel, tda: Tda) -> None:
        """
        Raises:
            ValueError: the text width is odd, or widths cannot be cut into the heads and groups asked for.
        """
        super().__init__()
        _check_widths(text_dim, config)
        self.tda = tda
        self.short_motion_encoder = ShortMotionEncoder(token_dim, text_dim, config)
        self.object_lang_align_layers = nn.ModuleList(
            ObjectLanguageAlignmentLayer(text_dim, config) for _ in range(config.n_layers)
        )
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(1, text_dim // 2))
        self.negative_token = nn.Embedding(config.n_negatives, text_dim)

    def forward(self, batch: Batch) -> Output:
        """Logits (B, N), and the pooled track tokens z (B, N, D)."""
        x_VNSD, mask_VNS = self._encode(batch)
        words_BKD, word_mask_BK = self._with_negatives(batch)
        position_SD = self._positions(x_VNSD.shape[2])
        first, *others = self.object_lang_align_layers
        assert isinstance(first, ObjectLanguageAlignmentLayer)
        x_BNSD = first.relate(x_VNSD, position_SD, mask_VNS)[batch.scene_B]
        mask_BNS = mask_VNS[batch.scene_B]
        x_BNSD = first.listen(x_BNSD, words_BKD, mask_BNS, word_mask_BK)
        for layer in others:
            x_BNSD = layer(x_BNSD, position_SD, words_BKD, mask_BNS, word_mask_BK)
        with no_autocast(x_BNSD):
            # The mean of dot products is the dot product with the mean.
            mean_BD = words_BKD.sum(1) / word_mask_BK.sum(1, keepdim=True)
            z_BND = _pool(x_BNSD, torch.einsum("bnsd,bd->bns", x_BNSD, mean_BD), mask_BNS)
            if self.tda.alpha:
                z_BND = aggregate(z_BND, x_BNSD, self._visible(batch, mask_BNS), self.tda)
            return Output(torch.einsum("bnd,bd->bn", z_BND, mean_BD), z_BND)

    def loss_weights(self, config: Selector) -> Mapping[str, float]:
        return {"bce": 1.0, "alignment": config.own.alignment_weight}

    def losses(self, output: Output, batch: Batch, config: Selector) -> Losses:
        parts = selection_losses(output.logits_BN, output.pooled_BND, self.negative_token.weight, batch, config)
        return Losses(parts, self.loss_weights(config))

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The motion of the tracks of every scene (V, N, S, D), zero at padding, and the mask (V, N, S)."""
        x_MSD, steps_M = self.short_motion_encoder(batch.tokens_MTC, batch.frames_M)
        mask_VNS = batch.scenes_of(within(steps_M, x_MSD.shape[1])) & batch.track_mask_VN[..., None]
        return batch.scenes_of(x_MSD) * mask_VNS[..., None], mask_VNS

    def _with_negatives(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Words followed by the negatives, zero at padded words, and the mask of both."""
        negatives_BKD = self.negative_token.weight.expand(len(batch), -1, -1)
        words_BWD = batch.words_BWD * batch.word_mask_BW[:, :, None]
        real_BK = torch.ones(negatives_BKD.shape[:2], dtype=torch.bool, device=words_BWD.device)
        return torch.cat([words_BWD, negatives_BKD], 1), torch.cat([batch.word_mask_BW, real_BK], 1)

    def _positions(self, steps: int) -> Tensor:
        """(S, D): sine and cosine of the step's position along fixed random frequencies."""
        gaussian = self.positional_encoding_gaussian_matrix
        time_S1 = torch.arange(steps, dtype=gaussian.dtype, device=gaussian.device)[:, None] / MAX_TEMPORAL_LENGTH
        angle = 2 * math.pi * (time_S1 * gaussian)
        return torch.cat([angle.sin(), angle.cos()], -1)

    def _visible(self, batch: Batch, mask_BNS: Tensor) -> Tensor:
        """(B, N, S): steps in one of whose frames the track is seen."""
        seen_MS = F.max_pool1d(batch.visible_MT.float()[:, None], STRIDE, ceil_mode=True)[:, 0] > 0
        return batch.scenes_of(seen_MS)[batch.scene_B] & mask_BNS


def _pool(x_BNSD: Tensor, score_BNS: Tensor, mask_BNS: Tensor) -> Tensor:
    """(B, N, D): tokens weighted by the softmax of their scores over a track's own steps."""
    lowest = torch.finfo(score_BNS.dtype).min  # not −inf: a padded track has no step, and must not give NaN
    weight_BNS = score_BNS.masked_fill(~mask_BNS, lowest).softmax(-1)
    return (x_BNSD * weight_BNS[..., None]).sum(2)


def _check_widths(text_dim: int, config: SolaModel) -> None:
    for name, divisor in (("n_heads", config.n_heads), ("n_groups", config.n_groups)):
        if text_dim % divisor:
            raise ValueError(f"selector.sola.{name} = {divisor} does not divide the text width {text_dim}")
    if config.hidden_dim % config.n_groups:
        raise ValueError(f"selector.sola.n_groups = {config.n_groups} does not divide hidden_dim = {config.hidden_dim}")
    if text_dim % 2:
        raise ValueError(f"a text width of {text_dim} is odd: positions need sine and cosine halves")
