"""The soc selector on one page, from its forward pass to its parts (after SOC, arXiv 2305.17011, and SOC++).

Legend: B samples, M tracks, N tracks of a sample, T frames, K = N·T track tokens, W words, P proxies, Q slots, C channels
of an object token, L text width, D width of soc.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.core.config.selector_sections import Selector, Tda
from stages.selectors.attention import VisibleAttention
from stages.selectors.batch import Batch
from stages.selectors.course_input import COURSE, CourseInput
from stages.selectors.detector_input import DETECTOR, DetectorInput
from stages.selectors.network import Losses, Network, Output
from stages.selectors.soc.blocks import Attend, FeedForward
from stages.selectors.soc.losses import soc_losses
from stages.selectors.soc.query_fusion import fuse
from stages.selectors.soc.settings import SocModel
from stages.selectors.tda import aggregate, masked_softmax
from stages.training.arithmetic import no_autocast

POOL_TEMPERATURE = 0.5
SMALLEST_AREA = 1e-6  # of the frame; keeps the logarithm of an empty mask finite
CERTAINTY = 1.0  # one minus the normalised entropy of the mask's pixels, which the track cache does not keep
LONGEST_WAVE = 10000.0
MATCH_TEMPERATURE, MATCH_SCALE = 0.1, 5.0
CHANGE_SHARE, CERTAINTY_SHARE = 0.5, 1.0  # the second is λ


class Soc(Network):
    """Frame-level tokens of tracks, fused with the words, clustered into video slots and scored.

    The steps of SOC and SOC++ on cached object tokens instead of a decoder's queries. Everything that runs
    over time, or over the tokens of a video, runs over the frames in which a track is visible.
    """

    needs_seen = True

    def __init__(self, token_dim: int, text_dim: int, config: SocModel, tda: Tda, inputs: Sequence[str] = ()) -> None:
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
        self.embed_words = nn.Sequential(nn.Linear(text_dim, config.dim), nn.LayerNorm(config.dim))
        self.proxy_fusion = ProxyFusion(config)
        self.frame_aggregation = FrameAggregation(config)
        self.frame_weight = FrameWeight(config)
        self.temporal_encoder = TemporalEncoder(config)
        self.video_slots = VideoSlots(config)
        self.read_slots = Attend(config)
        self.score = nn.Sequential(nn.Linear(3 * config.dim, config.dim), nn.ReLU(), nn.Linear(config.dim, 1))
        # last: with them, the other parameters are drawn as without
        self.course = CourseInput(config.dim) if COURSE in inputs else None
        self.detector = DetectorInput() if DETECTOR in inputs else None

    def forward(self, batch: Batch) -> Output:
        """Logits (B, N), pooled tracks r and expression e in one space, and the visibility gate."""
        visible_BNT = batch.scenes_of(batch.visible_MT)[batch.scene_B] & batch.track_mask_BN[..., None]
        presence_BNT = batch.scenes_of(batch.presence_MT)[batch.scene_B]
        n, t = visible_BNT.shape[1:]
        f_VNTD = batch.scenes_of(self.embed_tracks(batch))
        if self.course is not None:
            f_VNTD = f_VNTD + self.course(batch)
        f_BKD = f_VNTD[batch.scene_B].flatten(1, 2)
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
            output = self._decide(g_BNTD, expression_BD, weight_BNT, gate_BNT, visible_BNT, batch.track_mask_BN)
            if self.detector is None:
                return output
            return replace(output, logits_BN=output.logits_BN + self.detector(batch))

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


class TrackEmbedding(nn.Module):
    """F⁰ = LN(W·token) + PE(t) + MLP([σ(presence), certainty, log area, prompt flag])."""

    def __init__(self, token_dim: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(token_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.facts = nn.Sequential(nn.Linear(4, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, batch: Batch) -> Tensor:
        """(M, T, D)."""
        presence_MT = batch.presence_MT.sigmoid()
        facts_MT4 = torch.stack(
            [
                presence_MT,
                torch.full_like(presence_MT, CERTAINTY),
                (batch.area_MT + SMALLEST_AREA).log(),
                batch.prompted_MT.to(presence_MT.dtype),
            ],
            -1,
        )
        f_MTD = self.norm(self.project(batch.tokens_MTC))
        return f_MTD + sine_positions(f_MTD) + self.facts(facts_MT4)


def sine_positions(like_MTD: Tensor) -> Tensor:
    """(T, D): sines and cosines of the frame's index (arXiv 1706.03762)."""
    _, t, d = like_MTD.shape
    frequency_d = torch.exp(torch.arange(0, d, 2, device=like_MTD.device) * (-math.log(LONGEST_WAVE) / d))
    angle_Td = torch.arange(t, device=like_MTD.device)[:, None] * frequency_d
    return torch.cat([angle_Td.sin(), angle_Td.cos()], -1).to(like_MTD.dtype)


class ProxyFusion(nn.Module):
    """V = F + F⊙MHA(F; E), P = P⁰ + P⁰⊙MHA(P⁰; V), E' = E + E⊙MHA(E; P).

    The residual is kept: a bare product of gates collapses to zero.
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


class FrameAggregation(nn.Module):
    """Self-attention over the N tracks of a frame, then a feed-forward block. Absent tracks are not attended to."""

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
    """(B, T): entropy of which visible track of a frame is meant, or none, over that of a uniform choice; 0 … 1."""
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
