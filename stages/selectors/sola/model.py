"""SOLA on one page: language-aligned track selection (arXiv 2412.01136), over padded batches.

Legend: B samples, M tracks or rows, V scenes, N tracks of a scene, T frames, S = ⌈T/8⌉ steps, C = 256 channels of an
object token, W words, K words and negatives, D text width, L elements of a row.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.core.config.selector_sections import Selector, Tda
from stages.selectors.attention import Attention
from stages.selectors.batch import Batch, within
from stages.selectors.course_input import COURSE, CourseInput
from stages.selectors.detector_input import DETECTOR, DetectorInput
from stages.selectors.network import Losses, Network, Output
from stages.selectors.sola.losses import selection_losses
from stages.selectors.sola.settings import SolaModel
from stages.selectors.tda import aggregate
from stages.training.arithmetic import no_autocast

MAX_TEMPORAL_LENGTH = 100  # steps that the temporal position is divided by; fixed in the published code
STRIDE = 8  # frames per step
EPSILON = 1e-5  # added to the standard deviation of a filter, as in the reference code


class Sola(Network):
    """One logit per track: how well it matches the expression.

    Parameter names are those of the published code, one to one. Scores of a padded batch are those of
    each sample alone: norms, attention and means leave padding out, and convolutions see zeros beyond
    each track's own end. What does not depend on the words is computed once for all expressions of a video: the motion
    encoder once per track, the first layer's attention between tracks and over time once per scene. In
    training they therefore share a dropout mask; the expected gradient is that of separate masks.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, token_dim: int, text_dim: int, config: SolaModel, tda: Tda, inputs: Sequence[str] = ()) -> None:
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
        # last: with them, the published parameters are drawn as without
        self.course = CourseInput(token_dim) if COURSE in inputs else None
        self.detector = DetectorInput() if DETECTOR in inputs else None

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
            logits_BN = torch.einsum("bnd,bd->bn", z_BND, mean_BD)
            if self.detector is not None:
                logits_BN = logits_BN + self.detector(batch)
            return Output(logits_BN, z_BND)

    def loss_weights(self, config: Selector) -> Mapping[str, float]:
        return {"bce": 1.0, "alignment": config.own.alignment_weight}

    def losses(self, output: Output, batch: Batch, config: Selector) -> Losses:
        parts = selection_losses(output.logits_BN, output.pooled_BND, self.negative_token.weight, batch, config)
        return Losses(parts, self.loss_weights(config))

    def _encode(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The motion of the tracks of every scene (V, N, S, D), zero at padding, and the mask (V, N, S)."""
        if self.course is None:
            x_MSD, steps_M = self.short_motion_encoder(batch.tokens_MTC, batch.frames_M)
            x_VNSD, steps_VN = batch.scenes_of(x_MSD), batch.scenes_of(steps_M)
        else:  # courses are relative to the other tracks of a scene
            x_VNTC = batch.scenes_of(batch.tokens_MTC) + self.course(batch)
            x_MSD, steps_M = self.short_motion_encoder(x_VNTC.flatten(0, 1), batch.scenes_of(batch.frames_M).flatten())
            x_VNSD, steps_VN = (x.unflatten(0, batch.tracks_VN.shape) for x in (x_MSD, steps_M))
        mask_VNS = within(steps_VN, x_VNSD.shape[2]) & batch.track_mask_VN[..., None]
        return x_VNSD * mask_VNS[..., None], mask_VNS

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
        """(B, N, S): steps with a frame in which the track is visible."""
        seen_MS = F.max_pool1d(batch.visible_MT.float()[:, None], STRIDE, ceil_mode=True)[:, 0] > 0
        return batch.scenes_of(seen_MS)[batch.scene_B] & mask_BNS


def _pool(x_BNSD: Tensor, score_BNS: Tensor, mask_BNS: Tensor) -> Tensor:
    """(B, N, D): tokens weighted by the softmax of their scores over a track's own steps."""
    lowest = torch.finfo(score_BNS.dtype).min  # not −inf: a padded track has no step and must not give NaN
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


class ShortMotionEncoder(nn.Sequential):
    """Five convolutions with GroupNorm, LeakyReLU and dropout, and a last 1×1 one (SOLA, arXiv 2412.01136).

    A Sequential, so that parameters have the names of the published checkpoints. Its forward keeps what
    is beyond a track's own length at zero in every layer: each convolution then pads as it would have
    padded the track alone.
    """

    def __init__(self, token_dim: int, text_dim: int, config: SolaModel) -> None:
        hidden = config.hidden_dim
        layers: list[nn.Module] = []
        for channels_in, channels_out, stride in (
            (token_dim, hidden, 2),
            (hidden, hidden, 2),
            (hidden, hidden, 2),
            (hidden, text_dim, 1),
            (text_dim, text_dim, 1),
        ):
            layers += [
                WeightStandardisedConv1d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1),
                nn.GroupNorm(config.n_groups, channels_out),
                nn.LeakyReLU(),
                nn.Dropout(config.dropout),
            ]
        super().__init__(*layers, WeightStandardisedConv1d(text_dim, text_dim, kernel_size=1))

    def forward(self, x_MTC: Tensor, length_M: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(M, T, C) and frames of each track → (M, S, D), zero beyond the track, and its steps (M).

        A length of 0 marks a padded track.
        """
        x_MCT = (x_MTC * within(length_M, x_MTC.shape[1])[:, :, None]).transpose(1, 2)
        for layer in self:
            if isinstance(layer, WeightStandardisedConv1d):
                stride = layer.stride[0]
                x_MCT, length_M = layer(x_MCT), (length_M + stride - 1) // stride
            elif isinstance(layer, nn.GroupNorm):
                mask_MT = within(length_M, x_MCT.shape[2])
                x_MCT = masked_group_norm(layer, x_MCT.transpose(1, 2), mask_MT).transpose(1, 2)
            else:
                x_MCT = layer(x_MCT)  # LeakyReLU and dropout keep zeros
        x_MSD = x_MCT.transpose(1, 2).to(x_MTC.dtype)  # autocast ends with the last convolution
        return x_MSD * within(length_M, x_MSD.shape[1])[:, :, None], length_M


class WeightStandardisedConv1d(nn.Conv1d):
    """Conv1d whose every filter has mean 0 and (unbiased) standard deviation 1 when it is applied.

    Qiao et al., arXiv 1903.10520.
    """

    def forward(self, x_MCT: Tensor) -> Tensor:
        """(M, C, T) → (M, C', T')."""
        centred = self.weight - self.weight.mean(dim=(1, 2), keepdim=True)
        deviation = centred.flatten(1).std(dim=1)[:, None, None]
        return F.conv1d(x_MCT, centred / (deviation + EPSILON), self.bias, self.stride, self.padding)


class ObjectLanguageAlignmentLayer(nn.Module):
    """Inter-object, motion and object-to-language attention, each with a residual and a GroupNorm.

    arXiv 2412.01136. Only the object tokens change; the words pass unchanged.
    """

    def __init__(self, dim: int, config: SolaModel) -> None:
        super().__init__()
        self.obj_attn = Attention(dim, config.n_heads, config.attention_dropout)
        self.motion_attn = Attention(dim, config.n_heads, config.attention_dropout)
        self.object2lang_attn = Attention(dim, config.n_heads, config.attention_dropout)
        self.norm = nn.ModuleList(nn.GroupNorm(config.n_groups, dim) for _ in range(3))

    def forward(
        self, x_BNSD: Tensor, position_SD: Tensor, words_BWD: Tensor, mask_BNS: Tensor, word_mask_BW: Tensor
    ) -> Tensor:
        """The new object tokens (B, N, S, D), zero at padding."""
        return self.listen(self.relate(x_BNSD, position_SD, mask_BNS), words_BWD, mask_BNS, word_mask_BW)

    def relate(self, x_BNSD: Tensor, position_SD: Tensor, mask_BNS: Tensor) -> Tensor:
        """The half without words: over the tracks of one step, then over the steps of one track."""
        b, n, s, _ = x_BNSD.shape
        x_BSND = self._inter_object(x_BNSD.transpose(1, 2).flatten(0, 1), mask_BNS.transpose(1, 2).flatten(0, 1))
        x_BNSD = x_BSND.unflatten(0, (b, s)).transpose(1, 2)
        x_MSD = self._motion(x_BNSD.flatten(0, 1), position_SD, mask_BNS.flatten(0, 1))
        return x_MSD.unflatten(0, (b, n))

    def listen(self, x_BNSD: Tensor, words_BWD: Tensor, mask_BNS: Tensor, word_mask_BW: Tensor) -> Tensor:
        """All tokens of all tracks attend to the words and the negatives."""
        _, n, s, _ = x_BNSD.shape
        x_BLD, mask_BL = x_BNSD.flatten(1, 2), mask_BNS.flatten(1)
        attended_BLD = self.object2lang_attn(x_BLD, words_BWD, words_BWD, word_mask_BW)
        return self._norm(2, x_BLD + attended_BLD, mask_BL).unflatten(1, (n, s))

    def _inter_object(self, x_MND: Tensor, mask_MN: Tensor) -> Tensor:
        """Over the tracks of one time step."""
        return self._norm(0, x_MND + self.obj_attn(x_MND, x_MND, x_MND, mask_MN), mask_MN)

    def _motion(self, x_MSD: Tensor, position_SD: Tensor, mask_MS: Tensor) -> Tensor:
        """Over the steps of one track; positions enter queries and keys, not values."""
        placed_MSD = x_MSD + position_SD
        return self._norm(1, x_MSD + self.motion_attn(placed_MSD, placed_MSD, x_MSD, mask_MS), mask_MS)

    def _norm(self, index: int, x_MLD: Tensor, mask_ML: Tensor) -> Tensor:
        norm = self.norm[index]
        assert isinstance(norm, nn.GroupNorm)
        return masked_group_norm(norm, x_MLD, mask_ML)


def masked_group_norm(norm: nn.GroupNorm, x_MLD: Tensor, mask_ML: Tensor) -> Tensor:
    """`norm` over the real positions of each row (Wu and He, arXiv 1803.08494).

    Args:
        mask_ML: bool, True where a position is real.

    Returns:
        (M, L, D), zero at padding; a row without a real position is all zero. In the precision of the
        norm's weights: statistics of a few thousand bfloat16 values would be rounded to three digits.
    """
    m, length, d = x_MLD.shape
    x_MLGK = x_MLD.to(norm.weight.dtype).reshape(m, length, norm.num_groups, d // norm.num_groups)
    keep_ML11 = mask_ML[:, :, None, None].to(x_MLGK.dtype)
    count_M111 = (keep_ML11.sum(1, keepdim=True) * x_MLGK.shape[-1]).clamp(min=1)
    mean_M1G1 = (x_MLGK * keep_ML11).sum((1, 3), keepdim=True) / count_M111
    centred_MLGK = (x_MLGK - mean_M1G1) * keep_ML11
    variance_M1G1 = centred_MLGK.square().sum((1, 3), keepdim=True) / count_M111
    normed_MLD = (centred_MLGK * torch.rsqrt(variance_M1G1 + norm.eps)).reshape(m, length, d)
    return (normed_MLD * norm.weight + norm.bias) * mask_ML[:, :, None]
