"""A track over its frames, weighted. Legend: B samples, N tracks, T frames, D channels."""

from torch import Tensor, nn

from stages.selectors.soc.blocks import Attend, FeedForward
from stages.selectors.soc.settings import SocModel


class TemporalEncoder(nn.Module):
    """Layers of G ← LN(G + MHA(G; s⊙G⁰)) and a feed-forward block, over the frames of one track."""

    def __init__(self, config: SocModel) -> None:
        super().__init__()
        self.attend = nn.ModuleList(Attend(config) for _ in range(config.n_encoder_layers))
        self.feed_forward = nn.ModuleList(FeedForward(config) for _ in range(config.n_encoder_layers))

    def forward(self, g_BNTD: Tensor, weight_BNT: Tensor, visible_BNT: Tensor) -> Tensor:
        """(B, N, T, D)."""
        b, n = weight_BNT.shape[:2]
        weighted_MTD = (g_BNTD * weight_BNT[..., None]).flatten(0, 1)
        g_MTD, visible_MT = g_BNTD.flatten(0, 1), visible_BNT.flatten(0, 1)
        for attend, feed_forward in zip(self.attend, self.feed_forward, strict=True):
            g_MTD = feed_forward(attend(g_MTD, weighted_MTD, visible_MT))
        return g_MTD.unflatten(0, (b, n))
