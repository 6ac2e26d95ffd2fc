"""What pairs of a frame and a caption share in transformers' GroundingDINO: image features a frame, words a caption.

Each class takes a part's place in the model. Legend: B pairs, T tokens.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

CAPTIONS = 4096  # whose words are kept: 50 kB each


class SharedImages(torch.nn.Module):
    """In the place of the image backbone: gives the features of the pairs' frames, computed once a frame."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone, self.position_embedding = backbone, backbone.position_embedding
        self._known: dict[int, tuple[Any, Any]] = {}
        self._rows: list[int] = []

    def choose(self, images: Sequence[dict[str, torch.Tensor]]) -> None:
        """Says which frame each pair of the next call has; features of frames that are not among them are forgotten."""
        missing = {id(image): image for image in images if id(image) not in self._known}
        self._known = {id(image): self._known[id(image)] for image in images if id(image) in self._known}
        if missing:
            # The images are kept beside their features: an id belongs to an object only as long as it lives.
            batch = {
                name: torch.cat([image[name] for image in missing.values()]) for name in ("pixel_values", "pixel_mask")
            }
            maps, positions = self.backbone(**batch)
            for i, (key, image) in enumerate(missing.items()):
                self._known[key] = (image, [(m[i], mask[i], p[i]) for (m, mask), p in zip(maps, positions)])
        self._rows = [id(image) for image in images]

    def forward(self, pixel_values: torch.Tensor, pixel_mask: torch.Tensor) -> tuple[list[Any], list[Any]]:
        levels = list(zip(*(self._known[row][1] for row in self._rows), strict=True))
        stacked = [tuple(torch.stack(parts) for parts in zip(*level, strict=True)) for level in levels]
        return [(maps, mask) for maps, mask, _ in stacked], [position for *_, position in stacked]


class SharedWords(torch.nn.Module):
    """In the place of the text backbone: reads a caption once, alone and without padding."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self._known: OrderedDict[tuple[int, ...], torch.Tensor] = OrderedDict()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
        position_ids: torch.Tensor,
        return_dict: bool | None = None,
    ) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        words = [
            self._words(
                row,
                (input_ids[i : i + 1], attention_mask[i : i + 1], token_type_ids[i : i + 1], position_ids[i : i + 1]),
            )
            for i, row in enumerate(input_ids.tolist())
        ]
        padded_BTC = torch.nn.utils.rnn.pad_sequence(words, batch_first=True)
        output = BaseModelOutput(last_hidden_state=padded_BTC)
        return output if return_dict else output.to_tuple()

    def _words(self, row: list[int], inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        ids, mask, kinds, positions = inputs
        end = len(row) - next(i for i, token in enumerate(reversed(row)) if token)  # 0 is [PAD]
        key = tuple(row[:end])
        if key not in self._known:
            alone = ids[:, :end], mask[..., :end, :end], kinds[:, :end], positions[:, :end]
            self._known[key] = self.backbone(*alone, return_dict=True).last_hidden_state[0]
            if len(self._known) > CAPTIONS:
                self._known.popitem(last=False)
        return self._known[key]
