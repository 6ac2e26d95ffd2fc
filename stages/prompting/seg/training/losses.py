"""What a [SEG] model is trained by: the words of its answer, and its masks at points.

Legend: B masks, P points, T tokens of an answer, V vocabulary, h × w logits, H × W truth.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from stages.core.config.seg_training_section import Points
from stages.prompting.seg.training.points import sample_points, values_at

SMOOTH = 1.0  # added above and below in the Dice loss, so that nothing found of nothing is right


class MaskLosses(NamedTuple):
    """Of each mask, (B,)."""

    mask_B: Tensor
    dice_B: Tensor


def mask_losses(logits_Bhw: Tensor, truth_BHW: Tensor, points: Points, generator: torch.Generator) -> MaskLosses:
    """Binary cross-entropy and Dice loss at sampled points.

    Args:
        truth_BHW: 0 or 1, of any size: it is read between its pixels.
        generator: draws the points; of the CPU.
    """
    places_BP2 = sample_points(logits_Bhw, points, generator)
    logits_BP = values_at(logits_Bhw, places_BP2)
    truth_BP = values_at(truth_BHW.float(), places_BP2)
    mask_B = functional.binary_cross_entropy_with_logits(logits_BP, truth_BP, reduction="none").mean(1)
    return MaskLosses(mask_B, dice_loss(logits_BP.sigmoid(), truth_BP))


def dice_loss(share_BP: Tensor, truth_BP: Tensor) -> Tensor:
    """(B,) 1 − 2|A ∩ B| / (|A| + |B|), smoothed."""
    both_B = (share_BP * truth_BP).sum(1)
    return 1 - (2 * both_B + SMOOTH) / (share_BP.sum(1) + truth_BP.sum(1) + SMOOTH)


def text_loss(logits_TV: Tensor, ids_T: Tensor) -> Tensor:
    """Mean cross-entropy of an answer's tokens."""
    return functional.cross_entropy(logits_TV.float(), ids_T)
