"""How much each frame of a track counts: what it shows, how it matches, how it changes, how sure the match is.

Legend: B samples, N tracks, T frames, D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.selectors.soc.settings import SocModel

MATCH_TEMPERATURE = 0.1
MATCH_SCALE = 5.0
CHANGE_SHARE = 0.5
CERTAINTY_SHARE = 1.0  # λ


class FrameWeight(nn.Module):
    """s = M·[σ(g_vis G) + σ(5c) + ½σ(g_diff(G − running mean of G)) + λ·σ(presence)·(1 − Ĥ)], M = visible."""

    def __init__(self, config: SocModel) -> None:
        super().__init__()
        self.track_match = nn.Linear(config.dim, config.dim)
        self.word_match = nn.Linear(config.dim, config.dim)
        self.no_match = nn.Parameter(torch.zeros(()))  # the cosine of "none of the tracks"
        self.visible_gate, self.change_gate = _gate(config.dim), _gate(config.dim)

    def forward(
        self, g_BNTD: Tensor, expression_BD: Tensor, presence_BNT: Tensor, visible_BNT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Weights (B, N, T), 0 where a track is not visible, and the logits of the visibility gate."""
        words_BD = self.word_match(expression_BD)
        match_BNT = F.cosine_similarity(self.track_match(g_BNTD), words_BD[:, None, None], dim=-1)
        certainty_BNT = 1 - match_entropy(match_BNT, self.no_match, visible_BNT)[:, None]
        gate_BNT = self.visible_gate(g_BNTD)[..., 0]
        change_BNT = self.change_gate(g_BNTD - running_mean(g_BNTD, visible_BNT))[..., 0]
        weight_BNT = (
            gate_BNT.sigmoid()
            + (MATCH_SCALE * match_BNT).sigmoid()
            + CHANGE_SHARE * change_BNT.sigmoid()
            + CERTAINTY_SHARE * presence_BNT.sigmoid() * certainty_BNT
        )
        return weight_BNT * visible_BNT, gate_BNT


def match_entropy(match_BNT: Tensor, no_match: Tensor, visible_BNT: Tensor) -> Tensor:
    """(B, T): entropy of which visible track of a frame is meant, or none, over that of all being alike; 0 … 1."""
    b, _, t = match_BNT.shape
    logits_BMT = torch.cat([match_BNT, no_match.expand(b, 1, t)], 1) / MATCH_TEMPERATURE
    mask_BMT = torch.cat([visible_BNT, visible_BNT.new_ones(b, 1, t)], 1)
    log_share_BMT = logits_BMT.masked_fill(~mask_BMT, torch.finfo(logits_BMT.dtype).min).log_softmax(1)
    entropy_BT = -(log_share_BMT.exp() * log_share_BMT.masked_fill(~mask_BMT, 0)).sum(1)
    choices_BT = visible_BNT.sum(1).clamp(min=1) + 1  # no visible track leaves "none": an entropy of 0
    return entropy_BT / choices_BT.to(entropy_BT.dtype).log()


def running_mean(g_BNTD: Tensor, visible_BNT: Tensor) -> Tensor:
    """(B, N, T, D): mean over the visible frames up to each frame; 0 before the first."""
    visible_BNT1 = visible_BNT[..., None].to(g_BNTD.dtype)
    return (g_BNTD * visible_BNT1).cumsum(2) / visible_BNT1.cumsum(2).clamp(min=1)


def _gate(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))
