"""Many questions behind one context in one pass: what they share is computed once, and gives the same numbers as apart.

A row of tokens holds, clip by clip, the context; then every asked candidate's own part of its question, up to where the
sentence begins; then every sentence with the end of the chat. Tokens of a candidate see their clip's context, tokens of a
sentence see context and candidate; attention is computed in these three pieces instead of over one long masked row.

Legend: B clips, A candidates asked about per clip, K questions per candidate; C, P, Q tokens of a context, of a candidate's
part, of a question, padded on the right; L all of them, H heads, D channels, V images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.evidence.prompts import AGAINST_BLOCK, FOR_BLOCK
from stages.evidence.questions import Parts, Picture

IMAGE_TOKENS = 4  # of a card: 2 × 2
NAME = "packed"  # of the attention, in transformers' table
TEMPLATES = (FOR_BLOCK, AGAINST_BLOCK)


class Words:
    """Token ids of texts, each text looked up once; special tokens may stand in them."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        if text not in self.known:
            if len(self.known) > 200_000:
                self.known.clear()
            self.known[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return self.known[text]

    def token(self, text: str) -> int:
        (index,) = self(text)
        return index

    @cached_property
    def opening(self) -> list[int]:
        return self("<|im_start|>user\n")

    @cached_property
    def closing(self) -> list[int]:
        return self("<|im_end|>\n<|im_start|>assistant\n")

    @cached_property
    def picture(self) -> list[int]:
        return self("<|vision_start|>" + IMAGE_TOKENS * "<|image_pad|>" + "<|vision_end|>")


@dataclass(frozen=True)
class Piece:
    """Tokens, their rotary positions (time, height, width), and which card each image token shows; −1 = a word."""

    ids: list[int]
    positions: list[tuple[int, int, int]]
    pictures: list[int]
    end: int  # position of what follows


def piece_of(words: Words, parts: Parts, start: int, picture_of: Mapping[int, int], opening: bool = False) -> Piece:
    """Parts as tokens from position `start` on; `picture_of` maps the id() of a picture's pixels to its card."""
    ids: list[int] = list(words.opening) if opening else []
    positions = [(start + i,) * 3 for i in range(len(ids))]
    pictures, at = [-1] * len(ids), start + len(ids)
    for part in parts:
        if isinstance(part, Picture):
            card = picture_of[part.pixels_HW3.__array_interface__["data"][0]]
            ids += words.picture
            positions.append((at, at, at))
            positions += [(at + 1, at + 1 + y, at + 1 + x) for y in (0, 1) for x in (0, 1)]
            positions.append((at + 3,) * 3)
            pictures += [-1, *(card * IMAGE_TOKENS + i for i in range(IMAGE_TOKENS)), -1]
            at += 4
        else:
            more = words(part)
            ids += more
            positions += [(at + i,) * 3 for i in range(len(more))]
            pictures += [-1] * len(more)
            at += len(more)
    return Piece(ids, positions, pictures, at)


@dataclass(frozen=True, eq=False)
class Lengths:
    """How a row is cut, and which tokens of it are no padding."""

    n: tuple[int, int, int]  # B, A, K
    size: tuple[int, int, int]  # C, P, Q
    context_BC: Tensor
    about_BAP: Tensor
    asked_BAKQ: Tensor

    def to(self, device: str) -> "Lengths":
        seen = (self.context_BC, self.about_BAP, self.asked_BAKQ)
        return Lengths(self.n, self.size, *(seen_X.to(device) for seen_X in seen))

    @cached_property
    def biases(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """0 where a token is seen, −∞ where not: contexts, contexts of others, candidates, candidates of others, questions."""
        (b, a, k), (c, p, q) = self.n, self.size
        hidden = torch.finfo(torch.float32).min

        def of(seen: Tensor) -> Tensor:
            return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, hidden)

        device = self.context_BC.device
        context = of(self.context_BC[:, None, :] & _causal(c, device))  # (B, C, C)
        whole = of(self.context_BC[:, None, :])  # (B, 1, C)
        about = of(self.about_BAP.view(b * a, 1, p) & _causal(p, device))
        about_whole = of(self.about_BAP.view(b * a, 1, p))
        asked = of(self.asked_BAKQ.view(b * a * k, 1, q) & _causal(q, device))
        return context, whole, about, about_whole, asked


def _causal(n: int, device: torch.device) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool, device=device).tril()


@dataclass(frozen=True, eq=False)
class Packed:
    """A batch of questions in one row.

    Attributes:
        ids_L, positions_3L, card_L: tokens; card_L is the row of an image token's features, −1 for words.
        shows: whether there are image tokens.
        lengths: how the row is cut.
        start_R, said_R: for each question the place of its first token, and how many tokens its text has; R = B · A · K.
        answer_R: the place of the token after which the answer comes.
    """

    ids_L: Tensor
    positions_3L: Tensor
    card_L: Tensor
    shows: bool
    lengths: Lengths
    start_R: Tensor
    said_R: Tensor
    answer_R: Tensor

    def to(self, device: str) -> "Packed":
        values = {name: getattr(self, name) for name in ("ids_L", "positions_3L", "card_L", "lengths", "answer_R")}
        moved = {name: value.to(device) for name, value in values.items()}
        return replace(self, **moved)  # starts and lengths of texts are read on the host


def pack(
    words: Words, contexts: Sequence[Piece], abouts: Sequence[Sequence[Piece]], asked: Sequence[Sequence[Sequence[str]]]
) -> Packed:
    """One row of B contexts, of A candidates each, of K texts each; a text is what stands behind the candidate's part."""
    b, a, k = len(contexts), len(abouts[0]), len(asked[0][0])
    flat_about = [piece for of in abouts for piece in of]
    tails = [
        piece_of(words, (text,), piece.end, {})
        for of_b, about_b in zip(asked, abouts)
        for texts, piece in zip(of_b, about_b)
        for text in texts
    ]
    tails = [_closed(words, piece) for piece in tails]
    blocks = [_padded(pieces, words) for pieces in (contexts, flat_about, tails)]
    c, p, q = (block[0].shape[1] for block in blocks)
    lengths = Lengths(
        (b, a, k),
        (c, p, q),
        torch.from_numpy(blocks[0][3]),
        torch.from_numpy(blocks[1][3]).view(b, a, p),
        torch.from_numpy(blocks[2][3]).view(b, a, k, q),
    )
    ids, positions, card = (
        torch.from_numpy(np.concatenate([block[i].reshape(-1, *block[i].shape[2:]) for block in blocks]))
        for i in range(3)
    )
    start_R = b * c + b * a * p + q * torch.arange(len(tails))
    length_R = torch.tensor([len(piece.ids) for piece in tails])
    said_R = length_R - len(words.closing)
    shows = bool((card >= 0).any())
    return Packed(ids, positions.T.contiguous(), card, shows, lengths, start_R, said_R, start_R + length_R - 1)


def _closed(words: Words, piece: Piece) -> Piece:
    end = words.closing
    positions = [*piece.positions, *((piece.end + i,) * 3 for i in range(len(end)))]
    return Piece([*piece.ids, *end], positions, [*piece.pictures, *([-1] * len(end))], piece.end + len(end))


def _padded(
    pieces: Sequence[Piece], words: Words
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    n = max(len(piece.ids) for piece in pieces)
    ids = np.full((len(pieces), n), words.tokenizer.pad_token_id, np.int64)
    positions = np.zeros((len(pieces), n, 3), np.int64)
    cards = np.full((len(pieces), n), -1, np.int64)
    real = np.zeros((len(pieces), n), bool)
    for row, piece in enumerate(pieces):
        length = len(piece.ids)
        ids[row, :length], positions[row, :length], cards[row, :length] = piece.ids, piece.positions, piece.pictures
        real[row, :length] = True
    return ids, positions, cards, real


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float,
    lengths: Lengths,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of a packed row, (1, H, L, D) each → (1, L, H, D); an entry of transformers' table of attentions."""
    (b, a, k), (c, p, q) = lengths.n, lengths.size
    context, whole, about, about_whole, asked = lengths.biases
    cuts = (b * c, b * a * p, b * a * k * q)
    (qc, qa, qq), (kc, ka, kq), (vc, va, vq) = (x[0].split(cuts, 1) for x in (query * scaling, key, value))
    h, d = query.shape[1], query.shape[3]
    kc, vc = kc.reshape(h, b, c, d), vc.reshape(h, b, c, d)
    ka, va = ka.reshape(h, b * a, p, d), va.reshape(h, b * a, p, d)
    kq, vq = kq.reshape(h, b * a * k, q, d), vq.reshape(h, b * a * k, q, d)

    out_c = ((qc.reshape(h, b, c, d) @ kc.mT) + context).softmax(-1) @ vc

    on_context = (qa.reshape(h, b, a * p, d) @ kc.mT) + whole
    on_own = ((qa.reshape(h, b * a, p, d) @ ka.mT) + about).view(h, b, a * p, p)
    on_context, on_own = torch.cat([on_context, on_own], -1).softmax(-1).split((c, p), -1)
    out_a = on_context @ vc + (on_own.reshape(h, b * a, p, p) @ va).view(h, b, a * p, d)

    on_context = (qq.reshape(h, b, a * k * q, d) @ kc.mT) + whole
    on_about = ((qq.reshape(h, b * a, k * q, d) @ ka.mT) + about_whole).view(h, b, a * k * q, p)
    on_own = ((qq.reshape(h, b * a * k, q, d) @ kq.mT) + asked).view(h, b, a * k * q, q)
    parts = torch.cat([on_context, on_about, on_own], -1).softmax(-1).split((c, p, q), -1)
    out_q = parts[0] @ vc + (parts[1].reshape(h, b * a, k * q, p) @ va).view(h, b, a * k * q, d)
    out_q = out_q + (parts[2].reshape(h, b * a * k, q, q) @ vq).view(h, b, a * k * q, d)
    out = torch.cat([x.reshape(h, -1, d) for x in (out_c, out_a, out_q)], 1)
    return out.transpose(0, 1)[None], None


def register() -> None:
    """Makes `attend` known to transformers under NAME."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)


def hidden_states(model: Any, packed: Packed, features_VD: Tensor) -> Tensor:
    """(L, D) last hidden states of a packed row.

    Args:
        model: Qwen3VLForConditionalGeneration whose language model has NAME as its attention.
        features_VD: of all image tokens, card by card.
    """
    language = model.model.language_model
    embedded_LD = language.embed_tokens(packed.ids_L)
    if packed.shows:
        shows_L = packed.card_L >= 0
        seen_LD = features_VD[packed.card_L.clamp(min=0)]
        embedded_LD = torch.where(shows_L[:, None], seen_LD, embedded_LD)
    result = language(
        inputs_embeds=embedded_LD[None],
        position_ids=packed.positions_3L[:, None],
        use_cache=False,
        lengths=packed.lengths,
    )
    states_LD: Tensor = result.last_hidden_state[0]
    return states_LD
