"""Cards as the vision tower sees them: the processor's arithmetic, many cards at a time.

Legend: V cards, S pixels of a side, P patches of a card, D channels.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stages.micro.mllm import MERGE, PATCH
from stages.micro.training.mllm.recipe import CARD_SIDE

GRID = CARD_SIDE // PATCH


def patches_of(cards_VSS3: NDArray[np.uint8]) -> Tensor:
    """(V · P, 3 · PATCH²) float32 −1 … 1, in the order of Qwen's processor: 2 × 2 patches side by side."""
    v, side = cards_VSS3.shape[:2]
    n = side // (PATCH * MERGE)
    cut = cards_VSS3.reshape(v, n, MERGE, PATCH, n, MERGE, PATCH, 3).transpose(0, 1, 4, 2, 5, 7, 3, 6)
    return torch.from_numpy(np.ascontiguousarray(cut).reshape(v * GRID * GRID, -1).astype(np.float32) / 127.5 - 1)


def features_of(model: Any, cards_VSS3: NDArray[np.uint8]) -> Tensor:
    """(V · 4, D) the image tokens of the cards."""
    grid = torch.tensor([[1, GRID, GRID]]).repeat(len(cards_VSS3), 1)
    features: Tensor = model.model.visual(patches_of(cards_VSS3), grid_thw=grid).pooler_output
    return features


class LooksPool(nn.Module):
    """Reads colour, texture and shape from a card's image tokens; discarded after training.

    An attention pool per aspect is compared with the vectors of the words for it, so that image tokens come to hold
    what the words mean before a sentence is read. A card does not show the size: its crops have a scale of their own.
    """

    def __init__(self, hidden: int, n_aspects: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(n_aspects, hidden) * hidden**-0.5)
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, tokens_VTD: Tensor, words: list[Tensor]) -> list[Tensor]:
        """Logits per aspect; `words` are the vectors (C, D) of the words of each."""
        normed_VTD = functional.normalize(tokens_VTD, dim=-1)
        weights_VTA = (self.scale * normed_VTD @ self.queries.T).softmax(1)
        pooled_VAD = weights_VTA.mT @ normed_VTD
        return [
            self.scale * pooled_VAD[:, i] @ functional.normalize(words_CD, dim=-1).T for i, words_CD in enumerate(words)
        ]


class TruthHead(nn.Linear):
    """Whether a word, or the sentence that ends with it, is true of the candidate; discarded after training.

    An answer comes several tokens later and depends on the polarity of the question; this says earlier what is compared.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden, 1)


def looks_loss(logits: list[Tensor], looks_V4: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Mean cross entropy over aspects (all but the size), and accuracies."""
    losses, right = [], {}
    for name, values_VC, column in zip(("colour", "texture", "shape"), logits, (1, 2, 3)):
        losses.append(functional.cross_entropy(values_VC, looks_V4[:, column]))
        right[name] = float((values_VC.argmax(1) == looks_V4[:, column]).float().mean())
    return torch.stack(losses).mean(), right
