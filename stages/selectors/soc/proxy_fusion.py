"""Proxies between tracks and words: each side takes up the other, gated by itself (SOC++).

Legend: B samples, K = N·T track tokens, W words, P proxies, D channels.
"""

from torch import Tensor, nn

from stages.selectors.attention import VisibleAttention
from stages.selectors.soc.settings import SocModel


class ProxyFusion(nn.Module):
    """V = F + F⊙MHA(F; E), P = P⁰ + P⁰⊙MHA(P⁰; V), E' = E + E⊙MHA(E; P).

    The residual stays: a bare product of gates collapses to zero.
    """

    def __init__(self, config: SocModel) -> None:
        super().__init__()
        self.proxies = nn.Embedding(config.n_proxies, config.dim)
        self.tracks_to_words, self.proxies_to_tracks, self.words_to_proxies = (
            VisibleAttention(config.dim, config.n_heads, config.attention_dropout) for _ in range(3)
        )

    def forward(
        self, f_BKD: Tensor, words_BWD: Tensor, visible_BK: Tensor, word_mask_BW: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Track tokens (B, K, D), the mean word (B, D) and the mean proxy (B, D)."""
        v_BKD = f_BKD + f_BKD * self.tracks_to_words(f_BKD, words_BWD, words_BWD, word_mask_BW)
        p_BPD = self.proxies.weight.expand(len(f_BKD), -1, -1)
        p_BPD = p_BPD + p_BPD * self.proxies_to_tracks(p_BPD, v_BKD, v_BKD, visible_BK)
        all_BP = word_mask_BW.new_ones(p_BPD.shape[:2])
        words_BWD = words_BWD + words_BWD * self.words_to_proxies(words_BWD, p_BPD, p_BPD, all_BP)
        keep_BW1 = word_mask_BW[..., None]
        return v_BKD, (words_BWD * keep_BW1).sum(1) / keep_BW1.sum(1), p_BPD.mean(1)
