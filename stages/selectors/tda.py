"""Temporal dynamic aggregation of VRS-HQ (arXiv 2501.08549): a track's vector takes in the frames similar to it.

Legend: B samples, N tracks, T frames or steps, D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.core.config.selector_sections import Tda


def aggregate(pooled_BND: Tensor, tokens_BNTD: Tensor, visible_BNT: Tensor, config: Tda) -> Tensor:
    """u + α Σ_t λ_t z_t with λ = softmax over the visible frames of cos(z_t, u)/τ.

    Returns:
        (B, N, D); with α = 0 the input tensor itself; a track that is never visible is unchanged.
    """
    if config.alpha == 0:
        return pooled_BND
    cosine_BNT = F.cosine_similarity(tokens_BNTD, pooled_BND[:, :, None], dim=-1)
    weight_BNT = masked_softmax(cosine_BNT / config.temperature, visible_BNT)
    return pooled_BND + config.alpha * torch.einsum("bnt,bntd->bnd", weight_BNT, tokens_BNTD)


def masked_softmax(x: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the marked entries of the last axis; a row without any gives zeros, not NaN."""
    # the lowest number, not −inf: a row of −inf is NaN, and so are its gradients
    return x.masked_fill(~mask, torch.finfo(x.dtype).min).softmax(-1) * mask
