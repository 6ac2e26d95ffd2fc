"""Which query means which object: the best one-to-one assignment (Hungarian), as in DETR (arXiv 2005.12872).

Legend: Q queries, N objects, W tokens.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

CLASS_COST, L1_COST, GIOU_COST = 2.0, 5.0, 2.0


@torch.no_grad()
def match(
    logits_QW: torch.Tensor, boxes_Q4: torch.Tensor, truth_N4: torch.Tensor, positive_NW: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of queries and of the objects they mean; an object has one at most."""
    from stages.micro.training.grounding_dino.losses import overlap

    share_NW = positive_NW / positive_NW.sum(1, keepdim=True).clamp(min=1)
    named_QN = logits_QW.sigmoid() @ share_NW.T
    l1_QN = torch.cdist(boxes_Q4, truth_N4, p=1)
    giou_QN = overlap(boxes_Q4[:, None], truth_N4[None])
    cost_QN = -CLASS_COST * named_QN + L1_COST * l1_QN - GIOU_COST * giou_QN
    queries, objects = linear_sum_assignment(np.nan_to_num(cost_QN.numpy(), nan=1e6))
    return torch.as_tensor(queries), torch.as_tensor(objects)
