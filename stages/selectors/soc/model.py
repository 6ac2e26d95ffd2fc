"""The soc selector from one end to the other.

Legend: B samples, M tracks, N tracks of a sample, T frames, K = N·T, W words, D channels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.core.config.sections import Selector, Tda
from stages.selectors.batch import Batch
from stages.selectors.network import Losses, Network, Output
from stages.selectors.soc.blocks import Attend
from stages.selectors.soc.embedding import TrackEmbedding, WordEmbedding
from stages.selectors.soc.frame_aggregation import FrameAggregation
from stages.selectors.soc.frame_weight import FrameWeight
from stages.selectors.soc.losses import soc_losses
from stages.selectors.soc.proxy_fusion import ProxyFusion
from stages.selectors.soc.query_fusion import fuse
from stages.selectors.soc.settings import SocModel
from stages.selectors.soc.temporal_encoder import TemporalEncoder
from stages.selectors.soc.video_slots import VideoSlots
from stages.selectors.tda import aggregate, masked_softmax
from stages.training.arithmetic import no_autocast

POOL_TEMPERATURE = 0.5


class Soc(Network):
    """Frame-level tokens of tracks, fused with the words, clustered into video slots and scored.

    The steps of SOC and SOC++ on cached object tokens instead of a decoder's queries. Everything that runs
    over time, or over the tokens of a video, runs over the frames in which a track is visible.
    """

    needs_seen = True

    def __init__(self, token_dim: int, text_dim: int, config: SocModel, tda: Tda) -> None:
        """
        Raises:
            ValueError: the width is odd, or cannot be cut into the heads asked for.
        """
        super().__init__()
        if config.dim % config.n_heads or config.dim % 2:
            raise ValueError(
                f"selector.soc.dim = {config.dim}: must be even and a multiple of n_heads, {config.n_heads}"
            )
        self.tda = tda
        self.embed_tracks = TrackEmbedding(token_dim, config.dim)
        self.embed_words = WordEmbedding(text_dim, config.dim)
        self.proxy_fusion = ProxyFusion(config)
        self.frame_aggregation = FrameAggregation(config)
        self.frame_weight = FrameWeight(config)
        self.temporal_encoder = TemporalEncoder(config)
        self.video_slots = VideoSlots(config)
        self.read_slots = Attend(config)
        self.score = nn.Sequential(nn.Linear(3 * config.dim, config.dim), nn.ReLU(), nn.Linear(config.dim, 1))

    def forward(self, batch: Batch) -> Output:
        """Logits (B, N), pooled tracks r and expression e in one space, and the visibility gate."""
        visible_BNT = batch.scenes_of(batch.visible_MT)[batch.scene_B] & batch.track_mask_BN[..., None]
        presence_BNT = batch.scenes_of(batch.presence_MT)[batch.scene_B]
        n, t = visible_BNT.shape[1:]
        f_BKD = batch.scenes_of(self.embed_tracks(batch))[batch.scene_B].flatten(1, 2)
        visible_BK = visible_BNT.flatten(1)
        words_BWD = self.embed_words(batch.words_BWD)
        v_BKD, expression_BD, proxy_BD = self.proxy_fusion(f_BKD, words_BWD, visible_BK, batch.word_mask_BW)
        g_BNTD = self.frame_aggregation(v_BKD.unflatten(1, (n, t)), visible_BNT)
        weight_BNT, gate_BNT = self.frame_weight(g_BNTD, expression_BD, presence_BNT, visible_BNT)
        g_BKD = self.temporal_encoder(g_BNTD, weight_BNT, visible_BNT).flatten(1, 2)
        slots_BQD = fuse(self.video_slots(expression_BD + proxy_BD, g_BKD, visible_BK), g_BKD, visible_BK)
        every_BQ = visible_BK.new_ones(slots_BQD.shape[:2])
        g_BNTD = self.read_slots(g_BKD, slots_BQD, every_BQ).unflatten(1, (n, t))
        with no_autocast(g_BNTD):
            return self._decide(g_BNTD, expression_BD, weight_BNT, gate_BNT, visible_BNT, batch.track_mask_BN)

    def loss_weights(self, config: Selector) -> Mapping[str, float]:
        return {"bce": 1.0, "contrastive": config.own.contrastive_weight, "gate": config.own.gate_weight}

    def losses(self, output: Output, batch: Batch, config: Selector) -> Losses:
        return Losses(soc_losses(output, batch, config.training.positive_weight), self.loss_weights(config))

    def _decide(
        self,
        g_BNTD: Tensor,
        expression_BD: Tensor,
        weight_BNT: Tensor,
        gate_BNT: Tensor,
        visible_BNT: Tensor,
        track_mask_BN: Tensor,
    ) -> Output:
        """Pools every track over its visible frames and scores it; in the precision of the weights."""
        dtype = self.video_slots.slots.weight.dtype
        g_BNTD, expression_BD, weight_BNT, gate_BNT = (
            x.to(dtype) for x in (g_BNTD, expression_BD, weight_BNT, gate_BNT)
        )
        share_BNT = masked_softmax(weight_BNT / POOL_TEMPERATURE, visible_BNT)
        r_BND = torch.einsum("bnt,bntd->bnd", share_BNT, g_BNTD)
        r_BND = aggregate(r_BND, g_BNTD, visible_BNT, self.tda)
        e_BND = expression_BD[:, None].expand_as(r_BND)
        logits_BN = self.score(torch.cat([r_BND, e_BND, r_BND * e_BND], -1))[..., 0] * track_mask_BN
        return Output(logits_BN, r_BND, expression_BD, gate_BNT)
