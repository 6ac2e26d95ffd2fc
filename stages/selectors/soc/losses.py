"""The losses of soc: cross-entropy of the scores, contrast both ways, and visibility per frame.

Legend: B samples, M tracks of all videos, N tracks of a sample, T frames, D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.selectors.batch import Batch, within
from stages.selectors.losses import mean_over_tracks, weighted_bce
from stages.selectors.network import Output

CONTRAST_TEMPERATURE = 0.07
UNCLEAR_ABOVE = 0.5  # up to `positive_iou`: neither positive nor negative in the contrast


def soc_losses(output: Output, batch: Batch, positive_weight: float) -> dict[str, Tensor]:
    """Of every sample (B,). The contrast over expressions compares only those of a video that are in the batch."""
    assert output.expression_BD is not None and output.gate_BNT is not None
    similarity_BN = F.cosine_similarity(output.pooled_BND, output.expression_BD[:, None], dim=-1)
    return {
        "bce": weighted_bce(output.logits_BN, batch, positive_weight),
        "contrastive": contrastive(similarity_BN / CONTRAST_TEMPERATURE, batch),
        "gate": gate_loss(output.gate_BNT, batch),
    }


def contrastive(logits_BN: Tensor, batch: Batch) -> Tensor:
    """(B,): the mean of an expression's contrast over its tracks, and of its video's tracks over expressions."""
    positive_BN = (batch.labels_BN > 0) & batch.track_mask_BN
    negative_BN = (batch.labels_BN == 0) & (batch.iou_BN <= UNCLEAR_ABOVE) & batch.track_mask_BN
    over_tracks_B, _ = contrast(logits_BN, positive_BN, negative_BN)
    return (over_tracks_B + _over_expressions(logits_BN, positive_BN, negative_BN, batch)) / 2


def contrast(logits_RK: Tensor, positive_RK: Tensor, negative_RK: Tensor) -> tuple[Tensor, Tensor]:
    """(R,) mean over the positives of a row of −log softmax of each among itself and the row's negatives.

    Returns:
        The losses, 0 for a row without a positive, and whether a row has one.
    """
    lowest = torch.finfo(logits_RK.dtype).min
    negatives_R = logits_RK.masked_fill(~negative_RK, lowest).logsumexp(1)
    loss_RK = torch.logaddexp(logits_RK, negatives_R[:, None]) - logits_RK
    count_R = positive_RK.sum(1)
    return (loss_RK * positive_RK).sum(1) / count_R.clamp(min=1), count_R > 0


def gate_loss(gate_BNT: Tensor, batch: Batch) -> Tensor:
    """(B,) cross-entropy of the gate over the frames of the positive tracks; 0 without one."""
    real_BNT = (
        batch.scenes_of(within(batch.frames_M, gate_BNT.shape[2]))[batch.scene_B]
        & (batch.track_mask_BN & (batch.labels_BN > 0))[..., None]
    )
    loss_BNT = F.binary_cross_entropy_with_logits(gate_BNT, batch.seen_BNT, reduction="none")
    return mean_over_tracks(loss_BNT.flatten(1), real_BNT.flatten(1))


def _over_expressions(logits_BN: Tensor, positive_BN: Tensor, negative_BN: Tensor, batch: Batch) -> Tensor:
    """(B,): every sample gets its video's mean, over tracks, of each track's contrast over the expressions."""
    tracks_BN, m = batch.tracks_VN[batch.scene_B], len(batch.frames_M)

    def by_track(values_BN: Tensor) -> Tensor:
        """(M, B); padding points at track 0, and adds zeros."""
        out_BM = values_BN.new_zeros(len(values_BN), m)
        return out_BM.scatter_add(1, tracks_BN, values_BN * batch.track_mask_BN).T

    dtype = logits_BN.dtype
    positive_MB, negative_MB = (by_track(mask.to(dtype)) > 0 for mask in (positive_BN, negative_BN))
    loss_M, counted_M = contrast(by_track(logits_BN), positive_MB, negative_MB)
    video_BM = (by_track(torch.ones_like(logits_BN)) > 0).T & counted_M
    return mean_over_tracks(loss_M.expand(len(batch), -1), video_BM)
