"""Temporal dynamic aggregation and the choice of the keyframe, after VRS-HQ (Gong et al., CVPR 2025, arXiv 2501.08549).

Legend: F frames, C channels of a projected token.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def aggregate(seg_FC: "Tensor", tak_C: "Tensor", alpha: float) -> "tuple[Tensor, Tensor]":
    """The token of the video with the frames' tokens added, (C,), and the frames' weights λ, (F,).

    s_t = cos(seg_t, tak), λ = softmax(s), tak' = tak + α Σ λ_t seg_t.
    """
    import torch

    weight_F = torch.cosine_similarity(seg_FC, tak_C[None], dim=1).softmax(0)
    return tak_C + alpha * weight_F @ seg_FC, weight_F


def keyframe(object_score_F: "Tensor", weight_F: "Tensor") -> int:
    """Index of the frame with the highest softmax(object score) + λ; ties go to the first."""
    return int((object_score_F.float().softmax(0) + weight_F.float()).argmax())
