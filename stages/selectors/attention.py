"""Multi-head attention over padded sequences.

Legend: M rows, Q queries, K keys, D channels, H heads.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Scaled dot-product attention with q, k, v and output projections; dropout on the weights while training."""

    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, q_MQD: Tensor, k_MKD: Tensor, v_MKD: Tensor, key_mask_MK: Tensor) -> Tensor:
        """(M, Q, D); keys where `key_mask_MK` (bool) is False are never attended to."""
        # A row of nothing but padding may attend to anything: a softmax over nothing is NaN, and the
        # output of such a row is masked anyway.
        attend_MK = key_mask_MK | ~key_mask_MK.any(dim=1, keepdim=True)
        out_MHQd = F.scaled_dot_product_attention(
            self._split(self.q_proj(q_MQD)),
            self._split(self.k_proj(k_MKD)),
            self._split(self.v_proj(v_MKD)),
            attn_mask=attend_MK[:, None, None, :],
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out_proj(out_MHQd.transpose(1, 2).flatten(2))

    def _split(self, x_MLD: Tensor) -> Tensor:
        """(M, L, D) → (M, H, L, D / H)."""
        return x_MLD.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class VisibleAttention(Attention):
    """Attention in which a row without a real key gives zero, whatever its padding."""

    def forward(self, q_MQD: Tensor, k_MKD: Tensor, v_MKD: Tensor, key_mask_MK: Tensor) -> Tensor:
        return super().forward(q_MQD, k_MKD, v_MKD, key_mask_MK) * key_mask_MK.any(1)[:, None, None]
