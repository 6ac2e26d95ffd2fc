"""Query fusion of soc: video slots take in the track tokens that they share with each other (after SOC++).

Legend: B samples, Q slots, K track tokens, D width of soc.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.selectors.tda import masked_softmax
from stages.training.arithmetic import no_autocast

SHARPNESS, WALK = 5.0, 0.5  # the second is w


def fuse(slots_BQD: Tensor, tokens_BKD: Tensor, visible_BK: Tensor) -> Tensor:
    """x' = (1 − w)(I − w²A)⁻¹(x + w Zᵀy), in float32 (B, Q, D); slots unchanged where no token is visible.

    Z is the softmax over tokens y of 5·cos(y, x), A = ZᵀẐ its walk to the tokens and back. Constants are preserved:
    slots and tokens of one value keep it.
    """
    with no_autocast(slots_BQD):
        x_BQD, y_BKD = slots_BQD.to(_full(slots_BQD)), tokens_BKD.to(_full(slots_BQD))
        share_BQK = token_shares(x_BQD, y_BKD, visible_BK)
        walk_BQQ = walk(share_BQK)
        identity_QQ = torch.eye(walk_BQQ.shape[-1], dtype=x_BQD.dtype, device=x_BQD.device)
        start_BQD = x_BQD + WALK * share_BQK @ y_BKD
        fused_BQD = (1 - WALK) * torch.linalg.solve(identity_QQ - WALK**2 * walk_BQQ, start_BQD)
        return torch.where(visible_BK.any(1)[:, None, None], fused_BQD, x_BQD)


def token_shares(x_BQD: Tensor, y_BKD: Tensor, visible_BK: Tensor) -> Tensor:
    """Zᵀ (B, Q, K): how a slot spreads over the visible tokens; rows sum to 1."""
    cosine_BQK = F.normalize(x_BQD, dim=-1) @ F.normalize(y_BKD, dim=-1).transpose(1, 2)
    return masked_softmax(SHARPNESS * cosine_BQK, visible_BK[:, None])


def walk(share_BQK: Tensor) -> Tensor:
    """A (B, Q, Q): from a slot to its tokens, and from each to the slots that share it; rows sum to 1."""
    smallest = torch.finfo(share_BQK.dtype).tiny  # tokens that no slot shares: 0/0
    return share_BQK @ (share_BQK / share_BQK.sum(1, keepdim=True).clamp(min=smallest)).transpose(1, 2)


def _full(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
