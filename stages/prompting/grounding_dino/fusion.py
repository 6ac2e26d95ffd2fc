"""GroundingDINO's fusion of image and text (GLIP's bi-directional attention, arXiv 2112.03857): many pixels, few words.

As published all pixels are projected three times to four times their width. Words are few, so the projections are
folded into them instead, which is the same by algebra: (W v)·k = v·(Wᵀk) and Σ a (W v) = W Σ a v.

Legend: B captions, N pixels of all levels, T tokens, H heads, D channels per head, C model width, q = H·T.
"""

from typing import Any

import torch


class FoldedFusion(torch.nn.Module):
    """Replaces transformers' GroundingDinoBiMultiHeadAttention, in evaluation mode, over the same weights.

    It leaves out the published clamping of scores to ±50,000, which guards half precision and otherwise does nothing.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.attention = attention

    def forward(
        self,
        vision_features: torch.Tensor,
        text_features: torch.Tensor,
        vision_attention_mask: torch.Tensor | None = None,
        text_attention_mask: torch.Tensor | None = None,
    ) -> tuple[tuple[torch.Tensor, None], tuple[torch.Tensor, None]]:
        """What pixels (B, N, C) and words (B, T, C) get from each other; masks (B, N) and (B, T) are True on padding.

        The published module also returns its attention, which nothing reads.
        """
        attention, heads = self.attention, self.attention.num_heads
        keys_BHTD = self._heads(attention.text_proj(text_features)) * attention.scale
        query_HDC = attention.vision_proj.weight.unflatten(0, (heads, -1))
        shift_BHT1 = keys_BHTD @ attention.vision_proj.bias.view(heads, -1, 1)
        scores_BqN = (keys_BHTD @ query_HDC).flatten(1, 2) @ vision_features.transpose(1, 2)
        scores_BHTN = scores_BqN.unflatten(1, (heads, -1)) + shift_BHT1
        to_words = self._to_words(scores_BHTN, vision_features, vision_attention_mask)
        return (self._to_pixels(scores_BHTN, text_features, text_attention_mask), None), (to_words, None)

    def _to_pixels(
        self, scores_BHTN: torch.Tensor, text_BTC: torch.Tensor, padding_BT: torch.Tensor | None
    ) -> torch.Tensor:
        attention, heads = self.attention, self.attention.num_heads
        if padding_BT is not None:
            scores_BHTN = scores_BHTN.masked_fill(padding_BT[:, None, :, None], float("-inf"))
        share_BqN = scores_BHTN.softmax(2).flatten(1, 2)
        out_HDC = attention.out_vision_proj.weight.T.unflatten(0, (heads, -1))
        values_BHTC = self._heads(attention.values_text_proj(text_BTC)) @ out_HDC
        # A pixel's shares add up to 1 per head, so each value can carry a part of the output's bias.
        values_BqC = (values_BHTC + attention.out_vision_proj.bias / heads).flatten(1, 2)
        return share_BqN.transpose(1, 2) @ values_BqC

    def _to_words(
        self, scores_BHTN: torch.Tensor, vision_BNC: torch.Tensor, padding_BN: torch.Tensor | None
    ) -> torch.Tensor:
        attention, heads = self.attention, self.attention.num_heads
        if padding_BN is not None:
            scores_BHTN = scores_BHTN.masked_fill(padding_BN[:, None, None], float("-inf"))
        mean_BHTC = (scores_BHTN.softmax(3).flatten(1, 2) @ vision_BNC).unflatten(1, (heads, -1))
        value_HCD = attention.values_vision_proj.weight.unflatten(0, (heads, -1)).transpose(1, 2)
        attended_BHTD = mean_BHTC @ value_HCD + attention.values_vision_proj.bias.view(heads, 1, -1)
        words: torch.Tensor = attention.out_text_proj(attended_BHTD.transpose(1, 2).flatten(2))
        return words

    def _heads(self, projected_BTE: torch.Tensor) -> torch.Tensor:
        """(B, T, H·D) → (B, H, T, D)."""
        return projected_BTE.unflatten(2, (self.attention.num_heads, -1)).transpose(1, 2)
