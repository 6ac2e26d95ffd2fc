"""Post-norm transformer blocks of soc. Legend: M rows, Q queries, K keys, D channels."""

from torch import Tensor, nn

from stages.selectors.attention import VisibleAttention
from stages.selectors.soc.settings import SocModel


class Attend(nn.Module):
    """LN(x + MHA(x; keys))."""

    def __init__(self, config: SocModel) -> None:
        super().__init__()
        self.attention = VisibleAttention(config.dim, config.n_heads, config.attention_dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, x_MQD: Tensor, keys_MKD: Tensor, key_mask_MK: Tensor) -> Tensor:
        """(M, Q, D)."""
        attended_MQD = self.attention(x_MQD, keys_MKD, keys_MKD, key_mask_MK)
        out_MQD: Tensor = self.norm(x_MQD + self.dropout(attended_MQD))
        return out_MQD


class FeedForward(nn.Module):
    """LN(x + W·ReLU(W·x))."""

    def __init__(self, config: SocModel) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.dim, config.ffn_dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.ffn_dim, config.dim),
            nn.Dropout(config.dropout),
        )
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, x_MQD: Tensor) -> Tensor:
        out_MQD: Tensor = self.norm(x_MQD + self.layers(x_MQD))
        return out_MQD
