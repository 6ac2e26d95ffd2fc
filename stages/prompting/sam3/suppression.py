"""Non-maximum suppression of masks: of what shows one thing, the surest is kept.

transformers' video model leaves its own out, and says so once in a log, where the package `kernels` is not installed.

Legend: N masks, H × W their size.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


def kept_masks(masks_NHW: "torch.Tensor", scores_N: "torch.Tensor", iou: float) -> list[int]:
    """Indices of the masks that are kept, surest first; ties go to the lower index.

    Args:
        masks_NHW: bool.
        iou: a mask that shares more than this with a kept one is dropped.
    """
    return kept(mask_ious(masks_NHW).cpu().numpy(), scores_N.float().cpu().numpy(), iou)


def mask_ious(masks_NHW: "torch.Tensor") -> "torch.Tensor":
    """(N, N) intersection over union, float32; 0 where both are empty."""
    flat_NP = masks_NHW.flatten(1).float()
    shared_NN = flat_NP @ flat_NP.T  # whole numbers below 2²⁴, so exact
    area_N = flat_NP.sum(1)
    return shared_NN / (area_N[:, None] + area_N[None] - shared_NN).clamp(min=1)


def kept(iou_NN: NDArray[np.floating], scores_N: NDArray[np.floating], iou: float) -> list[int]:
    """The same of any pairwise overlaps."""
    chosen: list[int] = []
    for i in np.argsort(-scores_N, kind="stable"):
        if not (iou_NN[i, chosen] > iou).any():
            chosen.append(int(i))
    return chosen
