"""Cards as the vision tower sees them: the processor's arithmetic, many cards at a time.

Legend: V cards, S pixels of a side, P patches of a card, D channels.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stages.micro.mllm import MERGE, PATCH
from stages.micro.training.mllm.recipe import CARD_SIDE

GRID = CARD_SIDE // PATCH
NAME = "cards"  # of the attention, in transformers' table


def patches_of(cards_VSS3: NDArray[np.uint8]) -> Tensor:
    """(V · P, 3 · PATCH²) uint8, in the order of Qwen's processor: 2 × 2 patches side by side."""
    v, side = cards_VSS3.shape[:2]
    n = side // (PATCH * MERGE)
    cut = cards_VSS3.reshape(v, n, MERGE, PATCH, n, MERGE, PATCH, 3).transpose(0, 1, 4, 2, 5, 7, 3, 6)
    return torch.from_numpy(np.ascontiguousarray(cut).reshape(v * GRID * GRID, -1))


def normal(patches_NC: Tensor) -> Tensor:
    """Pixels as float32 −1 … 1."""
    return patches_NC.float() / 127.5 - 1


def features_of(model: Any, patches_NC: Tensor) -> Tensor:
    """(V · 4, D) the image tokens of cards, on the device of their patches."""
    visual = model.model.visual
    places = _places(len(patches_NC) // GRID**2, visual, patches_NC.device)
    features: Tensor = visual(normal(patches_NC), **places).pooler_output
    return features


def register() -> None:
    """Makes `attend` known to transformers under NAME."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention within each card, (1, H, V · P, D) each → (1, V · P, H, D); transformers' own takes card after card."""
    h, d = query.shape[1], query.shape[3]
    q, k, v = (x[0].view(h, -1, GRID**2, d).transpose(0, 1) for x in (query, key, value))
    out_VHPD = functional.scaled_dot_product_attention(q, k, v, scale=scaling)
    return out_VHPD.transpose(1, 2).reshape(1, -1, h, d), None


def _places(n_cards: int, visual: Any, device: torch.device) -> dict[str, Tensor]:
    """What the tower would compute from the sizes of its pictures, one after the other, and a GPU would wait for it."""
    names = ("num_grid_per_side", "interpolation_mode", "interpolation_align_corners", "spatial_merge_size")
    of_card = _places_of_card(*(getattr(visual, name) for name in names))
    whole = torch.tensor([0, n_cards * GRID**2], dtype=torch.int32)  # one sequence, which `attend` divides
    grid_V3 = torch.tensor([[1, GRID, GRID]]).repeat(n_cards, 1)
    repeated = {name: places_PX.to(device).repeat(n_cards, 1) for name, places_PX in of_card.items()}
    return {**repeated, "grid_thw": grid_V3, "cu_seqlens": whole}


@lru_cache(maxsize=1)
def _places_of_card(side: int, mode: str, align_corners: bool, merge: int) -> dict[str, Tensor]:
    from transformers import vision_utils

    grid_13 = torch.tensor([[1, GRID, GRID]])
    indices, weights = vision_utils.get_vision_interpolation_indices_and_weights(
        grid_13, side, mode, align_corners, merge
    )
    positions = vision_utils.get_vision_position_ids(grid_13, merge)
    return {"interp_indices": indices, "interp_weights": weights, "position_ids": positions}


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


def looks_loss(logits: list[Tensor], looks_V4: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean cross entropy over aspects (all but the size), and accuracies."""
    losses, right = [], {}
    for name, values_VC, column in zip(("colour", "texture", "shape"), logits, (1, 2, 3)):
        losses.append(functional.cross_entropy(values_VC, looks_V4[:, column]))
        right[name] = (values_VC.argmax(1) == looks_V4[:, column]).float().mean()
    return torch.stack(losses).mean(), right
