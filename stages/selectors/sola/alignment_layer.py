"""The alignment layer of SOLA: tracks attend each other, themselves over time, and the words.

Legend: B samples, N tracks, S steps, W words and negatives, D channels.
"""

from torch import Tensor, nn

from stages.selectors.attention import Attention
from stages.selectors.sola.masked_norm import masked_group_norm
from stages.selectors.sola.settings import SolaModel


class ObjectLanguageAlignmentLayer(nn.Module):
    """Inter-object, motion and object-to-language attention, each with a residual and a GroupNorm.

    arXiv 2412.01136. Only the object tokens change; the words pass unchanged.
    """

    def __init__(self, dim: int, config: SolaModel) -> None:
        super().__init__()
        self.obj_attn = Attention(dim, config.n_heads, config.attention_dropout)
        self.motion_attn = Attention(dim, config.n_heads, config.attention_dropout)
        self.object2lang_attn = Attention(dim, config.n_heads, config.attention_dropout)
        self.norm = nn.ModuleList(nn.GroupNorm(config.n_groups, dim) for _ in range(3))

    def forward(
        self, x_BNSD: Tensor, position_SD: Tensor, words_BWD: Tensor, mask_BNS: Tensor, word_mask_BW: Tensor
    ) -> Tensor:
        """The new object tokens (B, N, S, D), zero at padding."""
        return self.listen(self.relate(x_BNSD, position_SD, mask_BNS), words_BWD, mask_BNS, word_mask_BW)

    def relate(self, x_BNSD: Tensor, position_SD: Tensor, mask_BNS: Tensor) -> Tensor:
        """The half that knows no words: over the tracks of one step, then over the steps of one track."""
        b, n, s, _ = x_BNSD.shape
        x_BSND = self._inter_object(x_BNSD.transpose(1, 2).flatten(0, 1), mask_BNS.transpose(1, 2).flatten(0, 1))
        x_BNSD = x_BSND.unflatten(0, (b, s)).transpose(1, 2)
        x_MSD = self._motion(x_BNSD.flatten(0, 1), position_SD, mask_BNS.flatten(0, 1))
        return x_MSD.unflatten(0, (b, n))

    def listen(self, x_BNSD: Tensor, words_BWD: Tensor, mask_BNS: Tensor, word_mask_BW: Tensor) -> Tensor:
        """All tokens of all tracks attend the words and the negatives."""
        _, n, s, _ = x_BNSD.shape
        x_BLD, mask_BL = x_BNSD.flatten(1, 2), mask_BNS.flatten(1)
        heard_BLD = self.object2lang_attn(x_BLD, words_BWD, words_BWD, word_mask_BW)
        return self._norm(2, x_BLD + heard_BLD, mask_BL).unflatten(1, (n, s))

    def _inter_object(self, x_MND: Tensor, mask_MN: Tensor) -> Tensor:
        """Over the tracks of one time step."""
        return self._norm(0, x_MND + self.obj_attn(x_MND, x_MND, x_MND, mask_MN), mask_MN)

    def _motion(self, x_MSD: Tensor, position_SD: Tensor, mask_MS: Tensor) -> Tensor:
        """Over the steps of one track; positions enter queries and keys, not values."""
        placed_MSD = x_MSD + position_SD
        return self._norm(1, x_MSD + self.motion_attn(placed_MSD, placed_MSD, x_MSD, mask_MS), mask_MS)

    def _norm(self, index: int, x_MLD: Tensor, mask_ML: Tensor) -> Tensor:
        norm = self.norm[index]
        assert isinstance(norm, nn.GroupNorm)
        return masked_group_norm(norm, x_MLD, mask_ML)
