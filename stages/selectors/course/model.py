"""The network of `course` on one page: tracks as courses, words that attend over them, pairs that compare them.

Published selectors see SAM2's object tokens and nothing else. A token says who an object is; where it goes it hardly
says. Here a track begins as its course in numbers, beside a small projection of its tokens and what a detector said
of it. In every layer it reads the sentence, then looks at the other tracks through their courses relative to its own
("left of", "follows", "the fastest"), as the words ask; near-duplicates of a track count once (duplicates.py).

Legend: B samples, V scenes, N tracks, W words, D width, H heads, C channels of an object token, L text width.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.core.config.selector_sections import Selector
from stages.selectors.attention import Attention
from stages.selectors.batch import Batch
from stages.selectors.course.courses import OWN, PAIR, Noise, mean_tokens, read_courses
from stages.selectors.course.duplicates import compared
from stages.selectors.course.losses import listwise
from stages.selectors.course.settings import CourseModel
from stages.selectors.detector_input import detector_features
from stages.selectors.losses import weighted_bce
from stages.selectors.network import Losses, Network, Output
from stages.training.arithmetic import no_autocast

COURSE_HIDDEN, PAIR_HIDDEN, TOKEN_HIDDEN, DETECTOR_HIDDEN = 256, 128, 64, 32
MOST_WORDS = 128  # positions; later words share the last one
POSITION_SCALE = 0.1


class Course(Network):
    """One logit per track: log-odds against "none of them"."""

    def __init__(self, token_dim: int, text_dim: int, config: CourseModel) -> None:
        """
        Raises:
            ValueError: the width cannot be cut into the heads asked for.
        """
        super().__init__()
        if config.dim % config.n_heads:
            raise ValueError(f"selector.course.dim = {config.dim}: must be a multiple of n_heads, {config.n_heads}")
        dim, self.n_times, self.detector_missed = config.dim, config.n_times, config.detector_missed
        self.noise = Noise(config.place_noise, config.size_noise, config.missed)
        self.words = Words(text_dim, config)
        self.course = _mlp(config.n_times * OWN + 1, COURSE_HIDDEN, dim)
        self.pair = _mlp(config.n_times * PAIR, PAIR_HIDDEN, dim)
        self.tokens = Tokens(token_dim, dim, config.dropout) if config.pointers else None
        self.detector = _mlp(4, DETECTOR_HIDDEN, dim) if config.detector else None
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm, self.score = nn.LayerNorm(dim), nn.Linear(dim, 1)

    def forward(self, batch: Batch) -> Output:
        """Logits (B, N) and the tracks as the last layer leaves them (B, N, D)."""
        courses = read_courses(batch, self.n_times, self.noise if self.training else None)
        tracks_VND, pairs_VNND = self.course(courses.own_VNF), self.pair(courses.pair_VNNP)
        if self.tokens is not None:
            tracks_VND = tracks_VND + batch.scenes_of(self.tokens(mean_tokens(batch)))
        words_BWD = self.words(batch.words_BWD, batch.word_mask_BW)
        x_BND, compared_BNN = tracks_VND[batch.scene_B], compared(batch)[batch.scene_B]
        if self.detector is not None:
            x_BND = x_BND + self.detector(self._detections(batch))
        for layer in self.layers:
            x_BND = layer(x_BND, words_BWD, batch.word_mask_BW, pairs_VNND, batch.scene_B, compared_BNN)
        with no_autocast(x_BND):
            x_BND = self.norm(x_BND.to(self.score.weight.dtype))
            return Output(self.score(x_BND)[..., 0] * batch.track_mask_BN, x_BND)

    def loss_weights(self, config: Selector) -> Mapping[str, float]:
        return {"bce": 1.0, "listwise": config.own.listwise_weight}

    def losses(self, output: Output, batch: Batch, config: Selector) -> Losses:
        parts = {
            "bce": weighted_bce(output.logits_BN, batch, config.training.positive_weight),
            "listwise": listwise(output.logits_BN, batch),
        }
        return Losses(parts, self.loss_weights(config))

    def _detections(self, batch: Batch) -> Tensor:
        """(B, N, 4): what the detector said, and how far its best score is below the best of the sentence's tracks."""
        said_BN3 = detector_features(batch)
        if self.training:
            kept_B11 = torch.rand(len(batch), 1, 1, device=said_BN3.device) >= self.detector_missed
            said_BN3 = said_BN3 * kept_B11
        below_BN1 = said_BN3[..., :1] - said_BN3[..., :1].amax(1, keepdim=True)
        return 2 * torch.cat([said_BN3, below_BN1], -1)


class Words(nn.Module):
    """The sentence's words, each with its place, after a few layers of attention among them."""

    def __init__(self, text_dim: int, config: CourseModel) -> None:
        super().__init__()
        self.project = nn.Linear(text_dim, config.dim)
        self.position = nn.Parameter(POSITION_SCALE * torch.randn(MOST_WORDS, config.dim))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.dim, config.n_heads, 2 * config.dim, config.dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(config.n_text_layers)
        )

    def forward(self, words_BWD: Tensor, mask_BW: Tensor) -> Tensor:
        """(B, W, L) → (B, W, D)."""
        place_W = torch.arange(words_BWD.shape[1], device=words_BWD.device).clamp(max=MOST_WORDS - 1)
        x_BWD = self.project(words_BWD) + self.position[place_W]
        for layer in self.layers:
            x_BWD = layer(x_BWD, src_key_padding_mask=~mask_BW)
        return x_BWD


class Tokens(nn.Module):
    """What a track looks like: a small projection of its mean object token."""

    def __init__(self, token_dim: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(token_dim), nn.Linear(token_dim, TOKEN_HIDDEN)
        self.dropout, self.outer = nn.Dropout(dropout), nn.Linear(TOKEN_HIDDEN, dim)

    def forward(self, tokens_MC: Tensor) -> Tensor:
        """(M, C) → (M, D)."""
        projected_MD: Tensor = self.outer(self.dropout(F.gelu(self.inner(self.norm(tokens_MC)))))
        return projected_MD


class Layer(nn.Module):
    """Tracks read the words, then one another, then think."""

    def __init__(self, config: CourseModel) -> None:
        super().__init__()
        dim = config.dim
        self.word_norm, self.track_norm, self.last_norm = (nn.LayerNorm(dim) for _ in range(3))
        self.read = Attention(dim, config.n_heads, 0.0)
        self.compare = Comparison(dim, config.n_heads)
        self.think = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(2 * dim, dim)
        )

    def forward(
        self,
        x_BND: Tensor,
        words_BWD: Tensor,
        word_mask_BW: Tensor,
        pairs_VNND: Tensor,
        scene_B: Tensor,
        compared_BNN: Tensor,
    ) -> Tensor:
        x_BND = x_BND + self.read(self.word_norm(x_BND), words_BWD, words_BWD, word_mask_BW)
        x_BND = x_BND + self.compare(self.track_norm(x_BND), pairs_VNND, scene_B, compared_BNN)
        thought_BND: Tensor = self.think(self.last_norm(x_BND))
        return x_BND + thought_BND


class Comparison(nn.Module):
    """Every track attends over itself and the other objects by a small network of itself, the other, and the other's relative course.

    The network gives both the weight and the value: what is fetched from another track is the relation to it, not
    the track alone.
    """

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.own = nn.Linear(dim, dim)
        self.other, self.pair = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.weight, self.out = nn.Linear(dim, n_heads), nn.Linear(dim, dim)

    def forward(self, x_BND: Tensor, pairs_VNND: Tensor, scene_B: Tensor, compared_BNN: Tensor) -> Tensor:
        """(B, N, D). Pairs are projected once per scene, not per sentence."""
        pairs_BNND = self.pair(pairs_VNND)[scene_B]
        relation_BNND = F.gelu(self.own(x_BND)[:, :, None] + self.other(x_BND)[:, None] + pairs_BNND)
        lowest = torch.finfo(relation_BNND.dtype).min
        weight_BNNH = self.weight(relation_BNND).masked_fill(~compared_BNN[..., None], lowest).softmax(2)
        relation_BNNHd = relation_BNND.unflatten(-1, (self.n_heads, -1))
        fetched_BNHd = (relation_BNNHd * weight_BNNH[..., None]).sum(2)
        out_BND: Tensor = self.out(fetched_BNHd.flatten(2))
        return out_BND


def _mlp(n_inputs: int, hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, hidden), nn.GELU(), nn.Linear(hidden, n_outputs))
