"""The loss terms: contrastive focal loss on tokens, L1 and GIoU on boxes of matched queries, and the proposals'.

Focal loss: Lin et al., arXiv 1708.02002. Generalised IoU: Rezatofighi et al., arXiv 1902.09630.

Legend: B images, N objects, Q queries, R of them at true boxes, W tokens, S cells of all levels, h × w cells of stride 8.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from stages.micro.training.grounding_dino.batches import Batch
from stages.micro.training.grounding_dino.forward import Predictions

CLASS, L1, GIOU = 2.0, 5.0, 2.0  # of losses and of matching costs
ALPHA, GAMMA = 0.4, 2.0
NEIGHBOUR = 0.2  # weight of "not here" in cells on an object, apart from its middle
Losses = dict[str, torch.Tensor]


def detection_losses(predictions: Predictions, batch: Batch) -> Losses:
    """Losses of the decoder's layers and the encoder's proposals; sums over images, divided by the number of objects."""
    layers = [
        _layer_losses(logits_BQW, boxes_BQ4, batch)
        for logits_BQW, boxes_BQ4 in zip(predictions.logits_LBQW, predictions.boxes_LBQ4)
    ]
    return {
        **{name: torch.stack([one[name] for one in layers]).sum() for name in layers[0]},
        **_cell_losses(predictions, batch),
    }


def _layer_losses(logits_BQW: torch.Tensor, boxes_BQ4: torch.Tensor, batch: Batch) -> Losses:
    n_rois = batch.rois_BR4.shape[1]
    n_own = logits_BQW.shape[1] - n_rois
    target_BQW = torch.zeros_like(logits_BQW)
    predicted_boxes, true_boxes = [], []
    for b, (boxes_N4, positive_NW) in enumerate(zip(batch.boxes, batch.positive)):
        named_N = positive_NW.any(1).nonzero()[:, 0]
        own_logits, own_boxes = logits_BQW[b, :n_own].detach(), boxes_BQ4[b, :n_own].detach()
        queries, objects = match(own_logits, own_boxes, boxes_N4[named_N], positive_NW[named_N])
        target_BQW[b, queries] = positive_NW[named_N][objects]
        predicted_boxes.append(boxes_BQ4[b, queries])
        true_boxes.append(boxes_N4[named_N][objects])
        target_BQW[b, n_own:] = positive_NW[batch.roi_of_BR[b]]
    mask_B1W = batch.mask_BW[:, None].float()
    entropy_BQW = _focal(logits_BQW, target_BQW) * mask_B1W
    rois_BR4 = torch.stack([boxes_N4[of_R] for boxes_N4, of_R in zip(batch.boxes, batch.roi_of_BR)])
    return {
        "class": CLASS * entropy_BQW[:, :n_own].sum() / _count(target_BQW[:, :n_own]),
        "box": _box_loss(torch.cat(predicted_boxes), torch.cat(true_boxes)),
        "roi_class": CLASS * entropy_BQW[:, n_own:].sum() / _count(target_BQW[:, n_own:]),
        "roi_box": _box_loss(boxes_BQ4[:, n_own:].flatten(0, 1), rois_BR4.flatten(0, 1)),
    }


def _cell_losses(predictions: Predictions, batch: Batch) -> Losses:
    """The cell of stride 8 with an object's middle must name it; all cells of its inner half must predict its box."""
    h, w = predictions.image_BChw.shape[-2:]
    target_BSW = torch.zeros_like(predictions.cell_logits_BSW)
    weight_BS = torch.ones(target_BSW.shape[:2])
    predicted_boxes, true_boxes = [], []
    for b, (boxes_N4, positive_NW) in enumerate(zip(batch.boxes, batch.positive)):
        middle_N, inner_NS = _cells(boxes_N4, h, w)
        weight_BS[b, : h * w][inner_NS.any(0)] = NEIGHBOUR
        weight_BS[b, middle_N] = 1.0
        for n, middle in enumerate(middle_N.tolist()):
            target_BSW[b, middle] = torch.maximum(target_BSW[b, middle], positive_NW[n])
        of_N, cell_N = inner_NS.nonzero(as_tuple=True)
        predicted_boxes += [predictions.cell_boxes_BS4[b, cell_N], predictions.cell_boxes_BS4[b, middle_N]]
        true_boxes += [boxes_N4[of_N], boxes_N4]
    seen = batch.mask_BW[:, None].float() * weight_BS[..., None]
    logits_BSW = predictions.cell_logits_BSW.masked_fill(batch.mask_BW[:, None] == 0, 0.0)
    return {
        "cell_class": CLASS * (_focal(logits_BSW, target_BSW) * seen).sum() / _count(target_BSW),
        "cell_box": _box_loss(torch.cat(predicted_boxes), torch.cat(true_boxes)),
    }


def _cells(boxes_N4: torch.Tensor, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The cell of each box's middle (N,), and the cells whose middle is in its inner half (N, h·w)."""
    size_2 = torch.tensor([w, h])
    column_N, row_N = (boxes_N4[:, :2] * size_2).long().clamp(min=0).minimum(size_2 - 1).unbind(1)
    y_hw, x_hw = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
    place_S2 = torch.stack([x_hw, y_hw], -1).flatten(0, 1)
    away_NS2 = (place_S2[None] - boxes_N4[:, None, :2]).abs()
    return row_N * w + column_N, (away_NS2 <= boxes_N4[:, None, 2:] / 4).all(2)


@torch.no_grad()
def match(
    logits_QW: torch.Tensor, boxes_Q4: torch.Tensor, truth_N4: torch.Tensor, positive_NW: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best one-to-one assignment (Hungarian), as in DETR (arXiv 2005.12872).

    Returns:
        Indices of queries and of their objects; an object has at most one query.
    """
    share_NW = positive_NW / positive_NW.sum(1, keepdim=True).clamp(min=1)
    named_QN = logits_QW.sigmoid() @ share_NW.T
    l1_QN = torch.cdist(boxes_Q4, truth_N4, p=1)
    giou_QN = generalized_box_iou(_corners(boxes_Q4), _corners(truth_N4))
    cost_QN = -CLASS * named_QN + L1 * l1_QN - GIOU * giou_QN
    queries, objects = linear_sum_assignment(np.nan_to_num(cost_QN.numpy(), nan=1e6))
    return torch.as_tensor(queries), torch.as_tensor(objects)


def _focal(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """One value per element."""
    return sigmoid_focal_loss(logits, target, ALPHA, GAMMA)


def _count(target: torch.Tensor) -> torch.Tensor:
    return target.sum().clamp(min=1)


def _box_loss(boxes_N4: torch.Tensor, truth_N4: torch.Tensor) -> torch.Tensor:
    """Loss of pairs of boxes, cx cy w h."""
    l1_N = (boxes_N4 - truth_N4).abs().sum(1)
    giou_N = generalized_box_iou_loss(_corners(boxes_N4), _corners(truth_N4), eps=1e-9)
    return (L1 * l1_N + GIOU * giou_N).sum() / max(len(truth_N4), 1)


def _corners(boxes_N4: torch.Tensor) -> torch.Tensor:
    return box_convert(boxes_N4, "cxcywh", "xyxy")
