"""The loss terms: SAM2's losses on masks, and those of the auxiliary heads.

Focal, dice, predicted IoU and presence as in SAM2 (arXiv 2408.00714, appendix D.2), with one change: in this
data set a prompt means one object, so all mask tokens are trained, not only the best.

Legend: O objects, M masks, S = 128, s = 32.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from stages.micro.training.sam2.batches import Targets
from stages.micro.training.sam2.forward import Decoded
from stages.micro.training.sam2.heads import DenseReading, PointerReading
from stages.micro.training.sam2.recipe import SIDE

FOCAL, DICE, IOU, PRESENCE = 20.0, 1.0, 1.0, 1.0
ALPHA = 0.25
POINTER, DENSE = 0.5, 0.5
COLOUR, SHAPE = 0.3, 0.9  # shapes are by far the harder to learn
Losses = dict[str, torch.Tensor]


def mask_losses(decoded: Decoded, masks_OSS: torch.Tensor, side: int) -> Losses:
    """Focal and dice loss of present objects; predicted IoU and presence of all, absent ones' IoU being 0."""
    target_O1ss = functional.interpolate(masks_OSS[:, None].float(), size=(side, side), mode="area")
    logits_OMss = functional.interpolate(decoded.logits_OMss.float(), size=(side, side), mode="bilinear")
    present_O1 = masks_OSS.flatten(1).any(1, keepdim=True).float()
    probability = logits_OMss.sigmoid()
    entropy = functional.softplus(logits_OMss) - logits_OMss * target_O1ss
    alpha = 1 - ALPHA + (2 * ALPHA - 1) * target_O1ss
    # gamma = 2; torchvision's focal loss weighs soft targets, which downscaled masks have, by another distance
    focal_OM = (alpha * entropy * (probability - target_O1ss).square()).flatten(2).mean(2)
    overlap_OM = (probability * target_O1ss).flatten(2).sum(2)
    total_OM = probability.flatten(2).sum(2) + target_O1ss.flatten(2).sum(2)
    dice_OM = 1 - (2 * overlap_OM + 1) / (total_OM + 1)
    iou_OM = _ious(logits_OMss.detach() > 0, target_O1ss > 0.5)
    count = present_O1.sum().clamp(min=1)
    return {
        "focal": FOCAL * (focal_OM.mean(1, keepdim=True) * present_O1).sum() / count,
        "dice": DICE * (dice_OM.mean(1, keepdim=True) * present_O1).sum() / count,
        "iou": IOU * functional.binary_cross_entropy(decoded.iou_OM.float(), iou_OM),
        "presence": PRESENCE * functional.binary_cross_entropy_with_logits(decoded.score_O1.float(), present_O1),
    }


def _ious(predicted_OMss: torch.Tensor, true_O1ss: torch.Tensor) -> torch.Tensor:
    both = (predicted_OMss & true_O1ss).flatten(2).sum(2)
    either = (predicted_OMss | true_O1ss).flatten(2).sum(2)
    return both / either.clamp(min=1)


def pointer_losses(reading: PointerReading, targets: Targets, t: int) -> Losses:
    """Losses of the visible objects; that of the step needs the frame before as well."""
    here_O = targets.masks_TOSS[t].flatten(1).any(1)
    if not here_O.any():
        return {}
    centre_O2, area_O1 = centres(targets.masks_TOSS[t])
    huber = functional.smooth_l1_loss
    losses = {
        "centre": 3 * huber(reading.centre_O2[here_O], centre_O2[here_O], beta=0.1),
        "area": huber(reading.log_area_O1[here_O], area_O1[here_O].log() - 5, beta=0.3),
        "colour": COLOUR * functional.cross_entropy(reading.colour_OK[here_O], targets.colour_O[here_O]),
        "shape": SHAPE * functional.cross_entropy(reading.shape_OK[here_O], targets.shape_O[here_O]),
    }
    if t > 0:
        moved_O = here_O & targets.masks_TOSS[t - 1].flatten(1).any(1)
        if moved_O.any():
            step_O2 = (centre_O2 - centres(targets.masks_TOSS[t - 1])[0]) * (SIDE / 2) / 8
            losses["step"] = huber(reading.step_O2[moved_O], step_O2[moved_O], beta=0.3)
    return {name: POINTER * loss for name, loss in losses.items()}


def centres(masks_OSS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres (O, 2) as x, y in −1 … 1, and areas (O, 1) in pixels, at least 1."""
    masks = masks_OSS.float()
    area_O1 = masks.flatten(1).sum(1, keepdim=True).clamp(min=1)
    place_S = (torch.arange(SIDE) + 0.5) / (SIDE / 2) - 1
    x_O1, y_O1 = masks.sum(1) @ place_S[:, None] / area_O1, masks.sum(2) @ place_S[:, None] / area_O1
    return torch.cat([x_O1, y_O1], 1), area_O1


def dense_losses(readings: Sequence[DenseReading], dense_B3ss: torch.Tensor, classes_B2ss: torch.Tensor) -> Losses:
    """Where objects are, where their centres are from there, and which colour and shape they have."""
    any_Bss = dense_B3ss[:, 0].clamp(max=1)
    count = any_Bss.sum().clamp(min=1)
    losses = {"dense": torch.zeros(()), "dense_class": torch.zeros(())}
    for reading in readings:
        losses["dense"] = losses["dense"] + functional.binary_cross_entropy_with_logits(reading.map_B3ss[:, 0], any_Bss)
        away_Bss = (reading.map_B3ss[:, 1:] - dense_B3ss[:, 1:]).abs().sum(1) * any_Bss
        losses["dense"] = losses["dense"] + away_Bss.sum() / count
        kinds = ((COLOUR, reading.colour_BKss), (SHAPE, reading.shape_BKss))
        for (weight, logits_BKss), label_Bss in zip(kinds, classes_B2ss.unbind(1)):
            entropy = functional.cross_entropy(logits_BKss, label_Bss, ignore_index=-1, reduction="sum")
            losses["dense_class"] = losses["dense_class"] + weight * entropy / count
    return {name: DENSE * loss for name, loss in losses.items()}
