"""The tracks of one frame look at each other. Legend: B samples, N tracks, T frames, D channels."""

from torch import Tensor, nn

from stages.selectors.soc.blocks import Attend, FeedForward
from stages.selectors.soc.settings import SocModel


class FrameAggregation(nn.Module):
    """Self-attention over the N tracks of a frame, then a feed-forward block. Absent tracks are not looked at."""

    def __init__(self, config: SocModel) -> None:
        super().__init__()
        self.attend, self.feed_forward = Attend(config), FeedForward(config)

    def forward(self, v_BNTD: Tensor, visible_BNT: Tensor) -> Tensor:
        """(B, N, T, D)."""
        b, _, t, _ = v_BNTD.shape
        v_MND = v_BNTD.transpose(1, 2).flatten(0, 1)
        g_MND = self.feed_forward(self.attend(v_MND, v_MND, visible_BNT.transpose(1, 2).flatten(0, 1)))
        g_BTND: Tensor = g_MND.unflatten(0, (b, t))
        return g_BTND.transpose(1, 2)
