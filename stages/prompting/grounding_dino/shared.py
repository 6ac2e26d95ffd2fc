"""What pairs of frame and caption share in transformers' GroundingDINO: image features per frame, words per caption.

Each class replaces a part of the model. Legend: B pairs, T tokens.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from stages.prompting.grounding_dino.network import PreparedFrame

CAPTIONS = 4096  # whose words are kept: 50 kB each


class SharedImages(torch.nn.Module):
    """Replaces the image backbone: gives the features of the pairs' frames, computed once per frame."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone, self.position_embedding = backbone, backbone.position_embedding
        self._known: dict[PreparedFrame, list[tuple[torch.Tensor, ...]]] = {}  # map, mask and position of each level
        self._rows: list[PreparedFrame] = []

    def choose(self, images: Sequence[PreparedFrame]) -> None:
        """Sets the frame of each pair of the next call; features of other frames are dropped."""
        missing = [image for image in dict.fromkeys(images) if image not in self._known]
        self._known = {image: self._known[image] for image in images if image in self._known}
        if missing:
            values = torch.cat([image.pixel_values for image in missing])
            mask = torch.cat([image.pixel_mask for image in missing])
            maps, positions = self.backbone(pixel_values=values, pixel_mask=mask)
            for i, image in enumerate(missing):
                self._known[image] = [(m[i], mask[i], p[i]) for (m, mask), p in zip(maps, positions)]
        self._rows = list(images)

    def forward(self, pixel_values: torch.Tensor, pixel_mask: torch.Tensor) -> tuple[list[Any], list[Any]]:
        levels = list(zip(*(self._known[row] for row in self._rows), strict=True))
        stacked = [tuple(torch.stack(parts) for parts in zip(*level, strict=True)) for level in levels]
        return [(maps, mask) for maps, mask, _ in stacked], [position for *_, position in stacked]


class SharedWords(torch.nn.Module):
    """Replaces the text backbone: reads a caption once, alone and without padding."""

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
