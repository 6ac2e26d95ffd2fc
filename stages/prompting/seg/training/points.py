"""Points at which mask losses are measured: more of them where a mask is uncertain (PointRend, arXiv 1912.08193).

Legend: B masks, P points, K drawn points, h × w logits, H × W truth; places are (x, y) in shares of the image.
"""

import torch
from torch import Tensor

from stages.core.config.seg_training_section import Points


def sample_points(logits_Bhw: Tensor, points: Points, generator: torch.Generator) -> Tensor:
    """(B, P, 2) places for each mask, without gradients.

    Args:
        generator: of the CPU, so that places do not depend on the device.
    """
    b, device = len(logits_Bhw), logits_Bhw.device
    n_drawn, n_uncertain = int(points.count * points.oversample), int(points.count * points.uncertain)
    drawn_BK2 = torch.rand(b, n_drawn, 2, generator=generator).to(device)
    anywhere_BP2 = torch.rand(b, points.count - n_uncertain, 2, generator=generator).to(device)
    certainty_BK = values_at(logits_Bhw.detach(), drawn_BK2).abs()
    nearest_BP = certainty_BK.topk(n_uncertain, dim=1, largest=False).indices
    uncertain_BP2 = drawn_BK2.gather(1, nearest_BP[..., None].expand(-1, -1, 2))
    return torch.cat([uncertain_BP2, anywhere_BP2], 1)


def values_at(maps_Bhw: Tensor, places_BP2: Tensor) -> Tensor:
    """(B, P) values of maps between their pixels' centres, zero outside, as `grid_sample` has them.

    Written out, since the backward pass of `grid_sample` adds in varying order on a GPU.
    """
    b, h, w = maps_Bhw.shape
    size_2 = places_BP2.new_tensor([w, h])
    at_BP2 = places_BP2 * size_2 - 0.5
    low_BP2 = at_BP2.floor()
    share_BP2 = at_BP2 - low_BP2
    row_B1 = torch.arange(b, device=maps_Bhw.device)[:, None]
    total = maps_Bhw.new_zeros(places_BP2.shape[:2])
    for dx in (0, 1):
        for dy in (0, 1):
            x_BP, y_BP = (low_BP2 + low_BP2.new_tensor([dx, dy])).long().unbind(-1)
            weight_BP = (share_BP2[..., 0] - (1 - dx)).abs() * (share_BP2[..., 1] - (1 - dy)).abs()
            inside_BP = (x_BP >= 0) & (x_BP < w) & (y_BP >= 0) & (y_BP < h)
            value_BP = maps_Bhw[row_B1, y_BP.clamp(0, h - 1), x_BP.clamp(0, w - 1)]
            total = total + value_BP * weight_BP * inside_BP
    return total
