"""Parts of the losses of several selectors. Legend: B samples, N tracks."""

import torch.nn.functional as F
from torch import Tensor

from stages.selectors.batch import Batch


def weighted_bce(logits_BN: Tensor, batch: Batch, positive_weight: float) -> Tensor:
    """(B,) cross-entropy, positives times `positive_weight`, over the number of tracks."""
    weight_BN = 1 + (positive_weight - 1) * batch.labels_BN
    loss_BN = F.binary_cross_entropy_with_logits(logits_BN, batch.labels_BN, weight_BN, reduction="none")
    return mean_over_tracks(loss_BN, batch.track_mask_BN)


def mean_over_tracks(loss_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """(B,) mean over the marked tracks; 0 where none is marked."""
    return (loss_BN * mask_BN).sum(1) / mask_BN.sum(1).clamp(min=1)
