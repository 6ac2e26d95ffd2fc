"""The short-term motion encoder of SOLA: strided convolutions over the tokens of one track.

Legend: M tracks (of all samples), C channels in, T frames, S = ⌈T/8⌉ steps, D channels out.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from stages.selectors.batch import within
from stages.selectors.sola.masked_norm import masked_group_norm
from stages.selectors.sola.settings import SolaModel

EPSILON = 1e-5  # added to the standard deviation of a filter, as in the reference code


class ShortMotionEncoder(nn.Sequential):
    """Five convolutions with GroupNorm, LeakyReLU and dropout, and a last 1×1 one (SOLA, arXiv 2412.01136).

    A Sequential, so that parameters bear the names of the published checkpoints. Its forward keeps what
    lies beyond a track's own length at zero in every layer: each convolution then pads as it would have
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
