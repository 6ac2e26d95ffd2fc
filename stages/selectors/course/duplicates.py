"""Near-duplicates count once: which of a scene's tracks stand for an object when tracks are compared.

Prompts of several frames and sources give several tracks of one object. A track that is compared with all of them
would see a crowd where there is one neighbour, and its own doubles as others.

Legend: V scenes, N tracks of a scene, M tracks of all videos, T frames.
"""

import torch
from torch import Tensor

from stages.selectors.batch import Batch

SAME = 0.7  # IoU of two tracks' boxes over all frames, from which on they are taken for one object


@torch.no_grad()
def compared(batch: Batch) -> Tensor:
    """(V, N, N) bool: whether track i is compared with track j: with itself, and with one track of every other object.

    The one is the track with the most doubles; of as many, the one with the larger boxes; of equal ones, the first.
    """
    iou_VNN, area_VN = box_tube_iou(batch)
    real_VN = batch.track_mask_VN
    eye_NN = torch.eye(iou_VNN.shape[1], dtype=torch.bool, device=iou_VNN.device)
    double_VNN = ((iou_VNN > SAME) | eye_NN) & real_VN[:, None] & real_VN[:, :, None]
    ahead_VNN = _ahead(double_VNN.sum(2), area_VN)
    first_VN = ~(double_VNN & ahead_VNN).any(1)
    return (eye_NN | (first_VN[:, None] & ~double_VNN)) & real_VN[:, None]


def _ahead(count_VN: Tensor, area_VN: Tensor) -> Tensor:
    """(V, N, N) bool: whether track i goes before track j."""
    more_VNN, equal_VNN = _above(count_VN)
    larger_VNN, alike_VNN = _above(area_VN)
    earlier_NN = torch.ones_like(more_VNN[0]).triu(1)
    return more_VNN | (equal_VNN & (larger_VNN | (alike_VNN & earlier_NN)))


def _above(x_VN: Tensor) -> tuple[Tensor, Tensor]:
    """(V, N, N) whether x_i is greater than x_j, and whether they are equal."""
    return x_VN[:, :, None] > x_VN[:, None], x_VN[:, :, None] == x_VN[:, None]


def box_tube_iou(batch: Batch) -> tuple[Tensor, Tensor]:
    """(V, N, N) Σ over frames of the boxes' intersections over Σ of their unions, and (V, N) the sums of their areas."""
    boxes_VNT4 = batch.scenes_of(batch.boxes_MT4)
    start_VNT2, end_VNT2 = boxes_VNT4.split(2, -1)
    area_VN = (end_VNT2 - start_VNT2).prod(-1).sum(2)
    inner_VNNT2 = torch.minimum(end_VNT2[:, :, None], end_VNT2[:, None]) - torch.maximum(
        start_VNT2[:, :, None], start_VNT2[:, None]
    )
    shared_VNN = inner_VNNT2.clamp(min=0).prod(-1).sum(3)
    union_VNN = area_VN[:, :, None] + area_VN[:, None] - shared_VNN
    return shared_VNN / union_VNN.clamp(min=torch.finfo(union_VNN.dtype).eps), area_VN
