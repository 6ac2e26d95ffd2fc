"""SOLA: language-aligned track selection (arXiv 2412.01136), over padded batches.

Legend: B samples, N tracks, T frames, S = ⌈T/8⌉ steps, C = 256 channels of an object token, W words, K
words and negatives, D text width.
"""

import math

import torch
from torch import Tensor, nn

from stages.core.settings import SelectorModel
from stages.selectors.alignment_layer import ObjectLanguageAlignmentLayer
from stages.selectors.batch import Batch
from stages.selectors.motion_encoder import ShortMotionEncoder, steps_mask

MAX_TEMPORAL_LENGTH = 100  # steps that the temporal position is divided by; fixed in the published code


class Sola(nn.Module):
    """One logit a track: how well it matches the expression.

    Parameter names are those of the published code, one to one. Scores of a padded batch are those of
    each sample alone: norms, attention and means leave padding out, and convolutions see zeros beyond
    each track's own end.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, token_dim: int, text_dim: int, config: SelectorModel) -> None:
        """
        Raises:
            ValueError: the text width is odd, or widths cannot be cut into the heads and groups asked for.
        """
        super().__init__()
        _check_widths(text_dim, config)
        self.short_motion_encoder = ShortMotionEncoder(token_dim, text_dim, config)
        self.object_lang_align_layers = nn.ModuleList(
            ObjectLanguageAlignmentLayer(text_dim, config) for _ in range(config.n_layers)
        )
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(1, text_dim // 2))
        self.negative_token = nn.Embedding(config.n_negatives, text_dim)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (B, N), 0 for padded tracks, and the pooled track tokens z (B, N, D)."""
        b, n = batch.track_mask_BN.shape
        length_BN = batch.frames_B[:, None] * batch.track_mask_BN
        x_MSD, steps_M = self.short_motion_encoder(batch.tokens_BNTC.flatten(0, 1), length_BN.flatten())
        x_BNSD = x_MSD.unflatten(0, (b, n))
        mask_BNS = steps_mask(steps_M, x_MSD.shape[1]).unflatten(0, (b, n))
        words_BKD, word_mask_BK = self._with_negatives(batch)
        position_SD = self._positions(x_MSD.shape[1])
        for layer in self.object_lang_align_layers:
            x_BNSD = layer(x_BNSD, position_SD, words_BKD, mask_BNS, word_mask_BK)
        # The mean of dot products is the dot product with the mean.
        mean_BD = words_BKD.sum(1) / word_mask_BK.sum(1, keepdim=True)
        z_BND = _pool(x_BNSD, torch.einsum("bnsd,bd->bns", x_BNSD, mean_BD), mask_BNS)
        return torch.einsum("bnd,bd->bn", z_BND, mean_BD), z_BND

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
        angle = 2 * math.pi * (time_S1 @ gaussian)
        return torch.cat([angle.sin(), angle.cos()], -1)


def _pool(x_BNSD: Tensor, score_BNS: Tensor, mask_BNS: Tensor) -> Tensor:
    """(B, N, D): tokens weighted by the softmax of their scores over a track's own steps."""
    lowest = torch.finfo(score_BNS.dtype).min  # not −inf: a padded track has no step, and must not give NaN
    weight_BNS = score_BNS.masked_fill(~mask_BNS, lowest).softmax(-1)
    return (x_BNSD * weight_BNS[..., None]).sum(2)


def _check_widths(text_dim: int, config: SelectorModel) -> None:
    for name, divisor in (("n_heads", config.n_heads), ("n_groups", config.n_groups)):
        if text_dim % divisor:
            raise ValueError(f"selector.model.{name} = {divisor} does not divide the text width {text_dim}")
    if config.hidden_dim % config.n_groups:
        raise ValueError(
            f"selector.model.n_groups = {config.n_groups} does not divide hidden_dim = {config.hidden_dim}"
        )
    if text_dim % 2:
        raise ValueError(f"a text width of {text_dim} is odd: positions need sine and cosine halves")
