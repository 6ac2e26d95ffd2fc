"""Convolution over time with standardised weights (Qiao et al., arXiv 1903.10520)."""

import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5  # added to the standard deviation, as in the reference code


class WeightStandardisedConv1d(nn.Conv1d):
    """Conv1d whose every filter has mean 0 and (unbiased) standard deviation 1 when it is applied."""

    def forward(self, x_MCT: Tensor) -> Tensor:
        """(M, C, T) → (M, C', T')."""
        centred = self.weight - self.weight.mean(dim=(1, 2), keepdim=True)
        deviation = centred.flatten(1).std(dim=1)[:, None, None]
        return F.conv1d(x_MCT, centred / (deviation + EPSILON), self.bias, self.stride, self.padding)
