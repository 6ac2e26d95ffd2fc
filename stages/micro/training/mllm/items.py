"""A batch of questions before it becomes tokens: contexts, candidates, texts with their truth.

Legend: V cards, S pixels of a side, B contexts, A candidates, K texts.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.evidence.questions import Parts
from stages.evidence.views.compose import joined
from stages.micro.training.mllm.packing import TEMPLATES, Packed, Words, pack, piece_of
from stages.micro.training.mllm.questions import Asked

Cards = NDArray[np.uint8]  # (V, S, S, 3)


class Items:
    """Contexts with the candidates and questions asked behind them.

    Args:
        against: share of the candidates that are asked about so that yes speaks against them.
    """

    def __init__(self, rng: np.random.Generator, against: float = 0.5) -> None:
        self.rng, self.against = rng, against
        self.contexts: list[Parts] = []
        self.cards: list[Cards] = []
        self.abouts: list[Sequence[tuple[Parts, int]]] = []
        self.asked: list[Sequence[Sequence[Asked]]] = []

    def add(
        self, context: Parts, abouts: Sequence[tuple[Parts, int]], asked: Sequence[Sequence[Asked]], cards: Cards
    ) -> None:
        """A context; of each candidate its own part with its number (A of them), and its texts (K of each).

        Args:
            cards: all pictures that stand in these parts.
        """
        self.contexts.append(context)
        self.cards.append(cards)
        self.abouts.append(abouts)
        self.asked.append(asked)

    @property
    def shown(self) -> Cards:
        """The cards that image tokens refer to; one that nobody sees where there is no picture."""
        shows = any(not isinstance(part, str) for of in self.abouts for parts, _ in of for part in parts)
        return np.concatenate(self.cards) if shows else self.cards[0][:1]

    @property
    def texts(self) -> list[Asked]:
        """All texts in the order of the row."""
        return [one for of in self.asked for asked in of for one in asked]

    def pack(self, words: Words) -> tuple[Packed, Tensor, Tensor]:
        """The row, and for each question whether its text is true and whether yes speaks for it."""
        place_of: dict[int, int] = {}
        start = 0
        for cards_NSS3 in self.cards:
            place_of |= {card.__array_interface__["data"][0]: start + n for n, card in enumerate(cards_NSS3)}
            start += len(cards_NSS3)
        contexts = [piece_of(words, context, 0, place_of, opening=True) for context in self.contexts]
        abouts, true, speaks_for = [], [], []
        for context, of, asked in zip(contexts, self.abouts, self.asked):
            pieces = []
            for (parts, number), said in zip(of, asked):
                for_it = bool(self.rng.random() >= self.against)
                opening = TEMPLATES[0 if for_it else 1].format(number=number, text="").rstrip()
                pieces.append(piece_of(words, joined((*parts, opening)), context.end, place_of))
                true += [one.true for one in said]
                speaks_for += [for_it] * len(said)
            abouts.append(pieces)
        texts = [[[f" {one.text}" for one in of] for of in asked] for asked in self.asked]
        return pack(words, contexts, abouts, texts), torch.tensor(true), torch.tensor(speaks_for)
