"""What the two backends of GroundingDINO have in common: the captions they read and the network they are.

Legend: B pairs of a frame and a caption, Q queries, T caption tokens, H × W the resized frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """A frame as transformers' model takes it; two are equal only if they are the same object.

    Attributes:
        pixel_values: float32 (1, 3, H, W).
        pixel_mask: int64 (1, H, W), all 1.
    """

    pixel_values: "torch.Tensor"
    pixel_mask: "torch.Tensor"


@dataclass(frozen=True)
class Caption:
    """A caption as the model reads it.

    Attributes:
        inputs: input_ids, token_type_ids and attention_mask, int64 (1, tokens), [CLS] and [SEP] included.
        words_T: positions of the tokens that are scored.
        ids_T: their ids.
    """

    inputs: dict[str, "torch.Tensor"]
    words_T: list[int]
    ids_T: list[int]


class Network(Protocol):
    """A GroundingDINO in evaluation mode on its device: what the two backends differ in.

    Attributes:
        tokenizer: of BERT, as transformers loads it.
        max_tokens: the text limit, [CLS] and [SEP] included.
        device: where its inputs must be.
    """

    tokenizer: Any
    max_tokens: int
    device: str

    def prepare(self, frame: NDArray[np.uint8]) -> Any:
        """Resizes and normalises a frame, height × width × 3 RGB, as published; on the device."""
        ...

    def forward(self, images: Sequence[Any], texts: Sequence[Caption]) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Token logits (B, Q, at least the number of tokens) and boxes (B, Q, 4; cx cy w h in 0..1) of pairs.

        Args:
            images: prepared, of one size; the same object for the same frame.
            texts: one per image.
        """
        ...
