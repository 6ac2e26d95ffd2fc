"""What is minimised: contrastive focal loss on tokens, L1 and GIoU on boxes, and the auxiliary heads.

Legend: B images, Q queries, R of them at true boxes, W tokens, S cells of all levels, h × w cells of stride 8.
"""

import torch
from torch.nn import functional

from stages.micro.training.grounding_dino.batches import Batch
from stages.micro.training.grounding_dino.forward import Found
from stages.micro.training.grounding_dino.matching import match

CLASS, L1, GIOU = 2.0, 5.0, 2.0
ALPHA, GAMMA = 0.4, 2.0
NEIGHBOUR = 0.2  # weight of "not here" in cells that lie on an object, beside its middle
Losses = dict[str, torch.Tensor]


def detection_losses(found: Found, batch: Batch) -> Losses:
    """Of the decoder's layers and of the encoder's proposals; sums over images by the number of objects."""
    layers = [
        _layer_losses(logits_BQW, boxes_BQ4, batch)
        for logits_BQW, boxes_BQ4 in zip(found.logits_LBQW, found.boxes_LBQ4)
    ]
    return {
        **{name: torch.stack([one[name] for one in layers]).sum() for name in layers[0]},
        **_cell_losses(found, batch),
    }


def _layer_losses(logits_BQW: torch.Tensor, boxes_BQ4: torch.Tensor, batch: Batch) -> Losses:
    n_rois = batch.rois_BR4.shape[1]
    n_own = logits_BQW.shape[1] - n_rois
    target_BQW = torch.zeros_like(logits_BQW)
    found_boxes, true_boxes = [], []
    for b, (boxes_N4, positive_NW) in enumerate(zip(batch.boxes, batch.positive)):
        named_N = positive_NW.any(1).nonzero()[:, 0]
        own_logits, own_boxes = logits_BQW[b, :n_own].detach(), boxes_BQ4[b, :n_own].detach()
        queries, objects = match(own_logits, own_boxes, boxes_N4[named_N], positive_NW[named_N])
        target_BQW[b, queries] = positive_NW[named_N][objects]
        found_boxes.append(boxes_BQ4[b, queries])
        true_boxes.append(boxes_N4[named_N][objects])
        target_BQW[b, n_own:] = positive_NW[batch.roi_of_BR[b]]
    mask_B1W = batch.mask_BW[:, None].float()
    entropy_BQW = focal(logits_BQW, target_BQW) * mask_B1W
    rois_BR4 = torch.stack([boxes_N4[of_R] for boxes_N4, of_R in zip(batch.boxes, batch.roi_of_BR)])
    return {
        "class": CLASS * entropy_BQW[:, :n_own].sum() / _count(target_BQW[:, :n_own]),
        "box": _box_loss(torch.cat(found_boxes), torch.cat(true_boxes)),
        "roi_class": CLASS * entropy_BQW[:, n_own:].sum() / _count(target_BQW[:, n_own:]),
        "roi_box": _box_loss(boxes_BQ4[:, n_own:].flatten(0, 1), rois_BR4.flatten(0, 1)),
    }


def _cell_losses(found: Found, batch: Batch) -> Losses:
    """An object is named by the cell of stride 8 that holds its middle; all cells of its inner half find its box."""
    h, w = found.image_BChw.shape[-2:]
    target_BSW = torch.zeros_like(found.cell_logits_BSW)
    weight_BS = torch.ones(target_BSW.shape[:2])
    found_boxes, true_boxes = [], []
    for b, (boxes_N4, positive_NW) in enumerate(zip(batch.boxes, batch.positive)):
        middle_N, inner_NS = _cells(boxes_N4, h, w)
        weight_BS[b, : h * w][inner_NS.any(0)] = NEIGHBOUR
        weight_BS[b, middle_N] = 1.0
        for n, middle in enumerate(middle_N.tolist()):
            target_BSW[b, middle] = torch.maximum(target_BSW[b, middle], positive_NW[n])
        of_N, cell_N = inner_NS.nonzero(as_tuple=True)
        found_boxes += [found.cell_boxes_BS4[b, cell_N], found.cell_boxes_BS4[b, middle_N]]
        true_boxes += [boxes_N4[of_N], boxes_N4]
    seen = batch.mask_BW[:, None].float() * weight_BS[..., None]
    logits_BSW = found.cell_logits_BSW.masked_fill(batch.mask_BW[:, None] == 0, 0.0)
    return {
        "cell_class": CLASS * (focal(logits_BSW, target_BSW) * seen).sum() / _count(target_BSW),
        "cell_box": _box_loss(torch.cat(found_boxes), torch.cat(true_boxes)),
    }


def _cells(boxes_N4: torch.Tensor, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The cell of each box's middle (N,), and the cells whose middle lies in its inner half (N, h·w)."""
    size_2 = torch.tensor([w, h])
    column_N, row_N = (boxes_N4[:, :2] * size_2).long().clamp(min=0).minimum(size_2 - 1).unbind(1)
    y_hw, x_hw = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    place_S2 = torch.stack([x_hw, y_hw], -1).flatten(0, 1)
    away_NS2 = (place_S2[None] - boxes_N4[:, None, :2]).abs()
    return row_N * w + column_N, (away_NS2 <= boxes_N4[:, None, 2:] / 4).all(2)


def focal(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Lin et al. (arXiv 1708.02002), a value an element."""
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = (logits.sigmoid() - target).abs()
    return (ALPHA * target + (1 - ALPHA) * (1 - target)) * wrong.pow(GAMMA) * entropy


def _count(target: torch.Tensor) -> torch.Tensor:
    return target.sum().clamp(min=1)


def _box_loss(boxes_N4: torch.Tensor, truth_N4: torch.Tensor) -> torch.Tensor:
    l1 = (boxes_N4 - truth_N4).abs().sum(1)
    return (L1 * l1 + GIOU * (1 - overlap(boxes_N4, truth_N4))).sum() / max(len(truth_N4), 1)


def overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Generalised IoU (Rezatofighi et al., arXiv 1902.09630) of boxes cx cy w h (…, 4), by broadcasting."""
    a0, a1 = a[..., :2] - a[..., 2:] / 2, a[..., :2] + a[..., 2:] / 2
    b0, b1 = b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2
    both = (torch.minimum(a1, b1) - torch.maximum(a0, b0)).clamp(min=0).prod(-1)
    either = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both
    hull = (torch.maximum(a1, b1) - torch.minimum(a0, b0)).prod(-1)
    return both / either.clamp(min=1e-9) - (hull - either) / hull.clamp(min=1e-9)
