"""GroundingDINO through transformers (GroundingDinoForObjectDetection). Legend: Q queries, B pairs, T tokens.

Pairs of a frame and a caption go through encoder and decoder together, captions padded to the longest; image
features are computed once per frame, words once per caption, and image and text fused by fusion.py.

Up to 5.22 transformers does not read captions as published, which changes every score: it gives a closing "."
or "?" position 0 instead of its place after its phrase, and rounds the sines of positions to whole numbers.
`published_positions` fixes both while it is open; tests/prompting/test_grounding_dino_parity.py compares the backends.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.prompting.grounding_dino.checkpoint import convert, find_checkpoint, read_config, read_state
from stages.prompting.grounding_dino.image import Preprocessing, published_size, read_preprocessing
from stages.prompting.grounding_dino.network import Caption, PreparedFrame

if TYPE_CHECKING:
    import torch


def load_network(path: Path, device: str) -> "TransformersNetwork":
    """Loads a folder: config.json, preprocessor_config.json, a tokenizer, and weights of either layout.

    Raises:
        ValueError: it holds another kind of model, or weights are missing, damaged or of other shapes.
    """
    from transformers import AutoTokenizer

    folder = path.parent if path.is_file() else path
    config = read_config(folder)
    model = load_model(find_checkpoint(path), config)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return TransformersNetwork(model.eval().to(device), tokenizer, read_preprocessing(folder), device)


def load_model(file: Path, config: Any) -> Any:
    """A GroundingDinoForObjectDetection, float32, with the weights of a file of either layout.

    Raises:
        ValueError: it is damaged, or its tensors are not those of the config.
    """
    import torch
    from transformers import GroundingDinoForObjectDetection

    state, layout = read_state(file)
    state = convert(state, layout, "transformers", config, file)
    try:
        model, loading = GroundingDinoForObjectDetection.from_pretrained(
            None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: its tensors do not have the shapes of its config.json: {reason}") from error
    assert not loading["missing_keys"] and not loading["unexpected_keys"], loading
    return model


class TransformersNetwork:
    """The `Network` over a transformers model."""

    def __init__(self, model: Any, tokenizer: Any, preprocessing: Preprocessing, device: str) -> None:
        from stages.prompting.grounding_dino.fusion import FoldedFusion
        from stages.prompting.grounding_dino.shared import SharedImages, SharedWords

        self.tokenizer, self.preprocessing, self.device = tokenizer, preprocessing, device
        self.max_tokens = int(model.config.max_text_len)
        self._images = model.model.backbone = SharedImages(model.model.backbone)
        model.model.text_backbone = SharedWords(model.model.text_backbone)
        for layer in model.model.encoder.layers:
            layer.fusion_layer.attn = FoldedFusion(layer.fusion_layer.attn)
        self.model = model

    def prepare(self, frame: NDArray[np.uint8]) -> PreparedFrame:
        sides = self.preprocessing.shortest, self.preprocessing.longest
        height, width = published_size(frame.shape[0], frame.shape[1], *sides)
        image = self.preprocessing.processor(
            images=[frame],
            size={"height": height, "width": width},
            input_data_format="channels_last",
            return_tensors="pt",
        )
        return PreparedFrame(**{name: tensor.to(self.device) for name, tensor in image.items()})

    def forward(
        self, images: Sequence[PreparedFrame], texts: Sequence[Caption]
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        self._images.choose(images)
        shapes = {name: tensor.expand(len(texts), *tensor.shape[1:]) for name, tensor in vars(images[0]).items()}
        with published_positions():
            output = self.model(**shapes, **_padded(texts))
        return output.logits, output.pred_boxes


def _padded(texts: Sequence[Caption]) -> dict[str, "torch.Tensor"]:
    """The inputs of captions as one batch; 0 is [PAD] in ids and hides padding in the attention mask."""
    from torch.nn.utils.rnn import pad_sequence

    names = texts[0].inputs
    return {name: pad_sequence([text.inputs[name][0] for text in texts], batch_first=True) for name in names}


@contextmanager
def published_positions() -> Iterator[None]:
    """While it is open, transformers numbers a caption's tokens, and encodes the numbers, as the published code does."""
    from transformers.models.grounding_dino import modeling_grounding_dino as module

    masks, encode = "generate_masks_with_special_tokens_and_transfer_map", "encode_sinusoidal_position_embedding"
    original = {name: getattr(module, name) for name in (masks, encode)}

    def fixed_masks(input_ids: "torch.Tensor", *rest: Any, **named: Any) -> tuple["torch.Tensor", "torch.Tensor"]:
        mask_BTT, positions_BT = original[masks](input_ids, *rest, **named)
        return mask_BTT, _close_phrases(positions_BT, input_ids, module.SPECIAL_TOKENS)

    def fixed_encode(positions: "torch.Tensor", *rest: Any, **named: Any) -> "torch.Tensor":
        encoded: torch.Tensor = original[encode](
            positions if positions.is_floating_point() else positions.float(), *rest, **named
        )
        return encoded

    try:
        setattr(module, masks, fixed_masks)
        setattr(module, encode, fixed_encode)
        yield
    finally:
        for name, value in original.items():
            setattr(module, name, value)


def _close_phrases(positions_BT: "torch.Tensor", ids_BT: "torch.Tensor", separators: list[int]) -> "torch.Tensor":
    """Gives a separator that follows a word the position after that word; changes nothing where it already has it."""
    import torch

    separator_BT = torch.isin(ids_BT, torch.tensor(separators, device=ids_BT.device))
    closing_BT = separator_BT & ~separator_BT.roll(1, 1)
    closing_BT[:, [0, -1]] = False  # [CLS] and [SEP]
    return torch.where(closing_BT, positions_BT.roll(1, 1) + 1, positions_BT)
