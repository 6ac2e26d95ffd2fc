"""The loss of SOLA: weighted cross-entropy of the scores, and an alignment of tracks with words or negatives.

Legend: B samples, N tracks, D text width, K negatives. arXiv 2412.01136; the reductions are those
of the published code at its batch of one: a mean over a sample's tracks (and negatives), then here over
samples, so a sample weighs the same whatever it is batched with.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.core.config.selector_sections import Selector
from stages.selectors.batch import Batch
from stages.selectors.losses import mean_over_tracks, weighted_bce


def selection_losses(
    logits_BN: Tensor, z_BND: Tensor, negatives_KD: Tensor, batch: Batch, config: Selector
) -> dict[str, Tensor]:
    """Both losses of every sample of a batch (B,), over its real tracks."""
    return {
        "bce": weighted_bce(logits_BN, batch, config.training.positive_weight),
        "alignment": alignment(z_BND, negatives_KD, batch, config.training.positive_weight, config.own.temperature),
    }


def alignment(z_BND: Tensor, negatives_KD: Tensor, batch: Batch, positive_weight: float, temperature: float) -> Tensor:
    """(B,): positives are pulled to the caption's mean word, every other track to its nearest negative.

    The scale is exp(τ), as published: for τ = .07 a factor of 1.07, not of 1/.07.
    """
    scale = torch.tensor(temperature, dtype=z_BND.dtype, device=z_BND.device).exp()
    positive_BN = torch.einsum("bnd,bd->bn", z_BND, batch.mean_BD) * scale
    negative_BNK = torch.einsum("bnd,kd->bnk", z_BND, negatives_KD) * scale
    nearest_BNK = F.one_hot(negative_BNK.argmax(-1), negatives_KD.shape[0]).to(z_BND.dtype)
    target_BNK = (1 - batch.labels_BN)[..., None] * nearest_BNK
    positive_loss_BN = F.binary_cross_entropy_with_logits(positive_BN, batch.labels_BN, reduction="none")
    negative_loss_BN = F.binary_cross_entropy_with_logits(negative_BNK, target_BNK, reduction="none").mean(-1)
    return mean_over_tracks(positive_weight * positive_loss_BN + negative_loss_BN, batch.track_mask_BN)
