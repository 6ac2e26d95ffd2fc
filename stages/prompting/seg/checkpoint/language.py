"""What every family's language side offers: images encoded once, and passes of its decoder over requests about them.

Legend: B sequences, L tokens, P of them shared by all, T those of a sequence alone, D width, R rows of positions (3 with
M-RoPE, else 1), N image tokens.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Ids = list[int]


@dataclass(frozen=True)
class Seen:
    """Images, encoded.

    Attributes:
        features_ND: what stands in place of the image tokens, of all images in order.
        counts: image tokens of each image.
        grids_I3: patches of each image in time, height and width, for M-RoPE; None where positions are plain.
        deep: features_ND for the first layers of the decoder (DeepStack), one per layer.
    """

    features_ND: Tensor
    counts: tuple[int, ...]
    grids_I3: Tensor | None = None
    deep: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Output:
    """What the decoder gives for some tokens.

    Attributes:
        before_BTD, after_BTD: states of its last layer, before and after the final norm.
        cache: keys and values of all tokens so far.
    """

    before_BTD: Tensor
    after_BTD: Tensor
    cache: Any


class LanguageSide(nn.Module):
    """A native MLLM with what its checkpoint was trained to read.

    Attributes:
        mllm: the model whose tensors the checkpoint holds.
        tokenizer: of the checkpoint.
        image_id: the token in whose place an image token's feature stands.
        ends: texts that end an answer.
    """

    mllm: Any  # nn.Module
    tokenizer: Any
    image_id: int
    ends: tuple[str, ...]

    @property
    @abstractmethod
    def decoder(self) -> Any:
        """The language model without its head; its last norm is `norm`."""

    @property
    @abstractmethod
    def head(self) -> Any:
        """States after the norm → logits."""

    @abstractmethod
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Seen:
        """Runs the vision tower. Images are uint8 (H, W, 3), RGB, of any size."""

    @abstractmethod
    def ids(self, seen: Seen, text: str, answer: str = "") -> Ids:
        """A request and the beginning of its answer as the model reads them; `<image>` in `text` is where images stand."""

    def positions(self, ids: Ids, seen: Seen) -> Tensor:
        """(R, L) of a whole sequence."""
        return torch.arange(len(ids), device=self.device)[None]

    def deep_inputs(self, seen: Seen, is_image_BT: Tensor) -> dict[str, Any]:
        """What the decoder takes besides embeddings and positions."""
        return {}

    @property
    def device(self) -> torch.device:
        return self.embeddings.weight.device

    @property
    def embeddings(self) -> Any:
        return self.decoder.get_input_embeddings()

    def embed(self, ids_BT: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
        """Embeddings (B, T, D), features in place of image tokens; and where those are, (B, T) bool."""
        is_image_BT = ids_BT == self.image_id
        embedded_BTD = self.embeddings(ids_BT.masked_fill(is_image_BT, 0))
        if is_image_BT.any():
            features_ND = seen.features_ND.to(embedded_BTD.dtype).repeat(len(ids_BT), 1)
            if is_image_BT.sum() != len(features_ND):
                raise ValueError(f"{int(is_image_BT.sum())} image tokens for {len(features_ND)} features of images")
            embedded_BTD = embedded_BTD.masked_scatter(is_image_BT[..., None], features_ND)
        return embedded_BTD, is_image_BT

    def run(self, seen: Seen, ids_BT: Tensor, positions_RBT: Tensor, mask_BL: Tensor | None, cache: Any) -> Output:
        """One pass of the decoder over tokens that follow those in `cache`.

        Args:
            mask_BL: which tokens of all so far count; None = all.
        """
        embedded_BTD, is_image_BT = self.embed(ids_BT, seen)
        extra = self.deep_inputs(seen, is_image_BT) if is_image_BT.any() else {}
        positions = positions_RBT if len(positions_RBT) > 1 else positions_RBT[0]
        with inputs_of(self.decoder.norm) as before:
            output = self.decoder(
                inputs_embeds=embedded_BTD,
                attention_mask=mask_BL,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                **extra,
            )
        return Output(before[-1], output.last_hidden_state, output.past_key_values)


@contextmanager
def inputs_of(module: Any) -> Iterator[list[Tensor]]:
    """What a module is called with inside."""
    inputs: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        yield inputs
    finally:
        handle.remove()


def place_images(text: str, images: Sequence[str]) -> str:
    """A request with what stands for its images in place of `<image>`.

    Args:
        text: holds `<image>` once, for all images one after the other, or once per image.
        images: what stands for each.

    Raises:
        ValueError: another number of `<image>`.
    """
    pieces = text.split("<image>")
    if len(pieces) == 2:
        return pieces[0] + "\n".join(images) + pieces[1]
    if len(pieces) - 1 != len(images):
        raise ValueError(f"{text!r}: holds <image> {len(pieces) - 1} times, for {len(images)} images")
    return pieces[0] + "".join(image + piece for image, piece in zip(images, pieces[1:], strict=True))
