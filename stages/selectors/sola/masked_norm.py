"""GroupNorm whose statistics leave padding out.

Legend: M rows, L positions of a row, D channels, G groups.

GroupNorm over (D, L) takes its mean and variance over the positions too: padding a row would change
every value in it. With a mask of what is real, a padded row gives what the unpadded one gives.
"""

import torch
from torch import Tensor, nn


def masked_group_norm(norm: nn.GroupNorm, x_MLD: Tensor, mask_ML: Tensor) -> Tensor:
    """`norm` over the real positions of each row (Wu and He, arXiv 1803.08494).

    Args:
        mask_ML: bool, True where a position is real.

    Returns:
        (M, L, D), zero at padding; a row without a real position is all zero. Of the precision of the
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
