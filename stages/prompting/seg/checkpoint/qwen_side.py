"""The language side of Qwen2.5-VL and Qwen3-VL: frames as separate images, then the text, through the published chat template.

As published, an image is first resized to sides that are multiples of 28 (qwen_vl_utils), then by the image processor to between
512 and 2048 times 28² pixels.

Legend: I images, N image tokens, D language width, B sequences, T tokens, L of a whole sequence.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.prompting.seg.checkpoint.language import Ids, LanguageSide, Seen

PAD = "<|image_pad|>"
FACTOR = 28
BEFORE = (4 * FACTOR**2, 16384 * FACTOR**2)  # pixels, of qwen_vl_utils
SIZES = (512 * FACTOR**2, 2048 * FACTOR**2)  # pixels, of Sa2VA


class QwenVL(LanguageSide):
    """`LanguageSide` of Qwen2_5_VLForConditionalGeneration and Qwen3VLForConditionalGeneration.

    Attributes:
        sizes: fewest and most pixels of an image; None = as the image processor's own config says, and no first resize.
    """

    def __init__(self, mllm: Any, tokenizer: Any, image_processor: Any, sizes: tuple[int, int] | None) -> None:
        super().__init__()
        self.mllm, self.tokenizer, self.image_processor, self.sizes = mllm, tokenizer, image_processor, sizes
        self.image_id = mllm.config.image_token_id
        self.ends = ("<|im_end|>", "<|endoftext|>")

    @property
    def decoder(self) -> Any:
        return self.mllm.model.language_model

    @property
    def head(self) -> Any:
        return self.mllm.lm_head

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Seen:
        from PIL import Image

        pictures = [Image.fromarray(image) for image in images]
        options = {}
        if self.sizes is not None:
            pictures = [in_multiples(picture) for picture in pictures]
            options["size"] = {"shortest_edge": self.sizes[0], "longest_edge": self.sizes[1]}
        inputs = self.image_processor(images=pictures, return_tensors="pt", **options).to(self.device)
        grids_I3 = inputs["image_grid_thw"]
        found = self.mllm.model.get_image_features(inputs["pixel_values"], grids_I3, return_dict=True)
        deep = tuple(_joined(level) for level in getattr(found, "deepstack_features", None) or ())
        merged = self.image_processor.merge_size**2
        return Seen(_joined(found.pooler_output), tuple((grids_I3.prod(-1) // merged).tolist()), grids_I3, deep)

    def ids(self, seen: Seen, text: str, answer: str = "") -> Ids:
        content = [{"type": "image"}] * len(seen.counts) + [{"type": "text", "text": text.replace("<image>", "")}]
        chat = [{"role": "user", "content": content}]
        whole = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        pieces = whole.split(PAD)
        assert len(pieces) == len(seen.counts) + 1, "the chat template has another number of images"
        pads = [PAD * count for count in seen.counts]
        whole = pieces[0] + "".join(pad + piece for pad, piece in zip(pads, pieces[1:], strict=True))
        return list(self.tokenizer.encode(whole)) + list(self.tokenizer.encode(answer, add_special_tokens=False))

    def positions(self, ids: Ids, seen: Seen) -> Tensor:
        """(3, L): time, height and width of M-RoPE."""
        ids_1L = torch.tensor([ids], device=self.device)
        is_image_1L = (ids_1L == self.image_id).int()
        positions_31L, _ = self.mllm.model.get_rope_index(
            input_ids=ids_1L, mm_token_type_ids=is_image_1L, image_grid_thw=seen.grids_I3
        )
        rows: Tensor = positions_31L[:, 0]
        return rows

    def deep_inputs(self, seen: Seen, is_image_BT: Tensor) -> dict[str, Any]:
        if not seen.deep:
            return {}
        deep = [level_ND.repeat(len(is_image_BT), 1) for level_ND in seen.deep]
        return {"visual_pos_masks": is_image_BT, "deepstack_visual_embeds": deep}


def _joined(features: "Tensor | Sequence[Tensor]") -> Tensor:
    """Of all images together; some versions of transformers give them per image."""
    return features if isinstance(features, Tensor) else torch.cat(list(features))


def in_multiples(picture: Any) -> Any:
    """A PIL image with sides that are multiples of 28, its area within BEFORE (qwen_vl_utils.smart_resize)."""
    width, height = picture.size
    if max(width, height) > 200 * min(width, height):
        raise ValueError(f"a frame of {width} × {height}: one side is more than 200 times the other")
    sides = [max(FACTOR, round(side / FACTOR) * FACTOR) for side in (width, height)]
    fewest, most = BEFORE
    if sides[0] * sides[1] > most:
        scale = (width * height / most) ** 0.5
        sides = [max(FACTOR, int(side / scale // FACTOR) * FACTOR) for side in (width, height)]
    elif sides[0] * sides[1] < fewest:
        scale = (fewest / (width * height)) ** 0.5
        sides = [-int(-side * scale // FACTOR) * FACTOR for side in (width, height)]
    return picture.resize(tuple(sides))
