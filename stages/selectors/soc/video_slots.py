"""Slots that gather a whole video. Legend: B samples, Q slots, K = N·T track tokens, D channels."""

from torch import Tensor, nn

from stages.selectors.soc.blocks import Attend, FeedForward
from stages.selectors.soc.settings import SocModel


class VideoSlots(nn.Module):
    """U⁰ = e + p̄ + learned; layers of attention to all tokens, among the slots, and a feed-forward block."""

    def __init__(self, config: SocModel) -> None:
        super().__init__()
        self.slots = nn.Embedding(config.n_slots, config.dim)
        self.gather = nn.ModuleList(Attend(config) for _ in range(config.n_slot_layers))
        self.relate = nn.ModuleList(Attend(config) for _ in range(config.n_slot_layers))
        self.feed_forward = nn.ModuleList(FeedForward(config) for _ in range(config.n_slot_layers))

    def forward(self, start_BD: Tensor, tokens_BKD: Tensor, visible_BK: Tensor) -> Tensor:
        """(B, Q, D)."""
        u_BQD = start_BD[:, None] + self.slots.weight
        all_BQ = visible_BK.new_ones(u_BQD.shape[:2])
        for gather, relate, feed_forward in zip(self.gather, self.relate, self.feed_forward, strict=True):
            u_BQD = gather(u_BQD, tokens_BKD, visible_BK)
            u_BQD = feed_forward(relate(u_BQD, u_BQD, all_BQ))
        return u_BQD
