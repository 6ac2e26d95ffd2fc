"""The language side of InternVLForConditionalGeneration, as Sa2VA, Sa2VA-i and SaSaSa2VA were trained on it.

A frame is squashed to 448 × 448 (bicubic, antialiased), normalised as ImageNet, and takes 256 tokens between <img> and </img>;
nothing is tiled.

Legend: I images, N image tokens, D language width, S side of an image.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.prompting.seg.checkpoint.language import Ids, LanguageSide, Seen, place_images
from stages.prompting.seg.checkpoint.templates import Template

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
START, CONTEXT, END = "<img>", "<IMG_CONTEXT>", "</img>"


class InternVL(LanguageSide):
    """`LanguageSide` of InternVLForConditionalGeneration."""

    def __init__(self, mllm: Any, tokenizer: Any, template: Template) -> None:
        super().__init__()
        self.mllm, self.tokenizer, self.template = mllm, tokenizer, template
        self.image_id = mllm.config.image_token_id
        self.ends = (template.end,)
        self.image_side = mllm.config.vision_config.image_size[0]

    @property
    def decoder(self) -> Any:
        return self.mllm.model.language_model

    @property
    def head(self) -> Any:
        return self.mllm.lm_head

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Seen:
        pixels_I3SS = torch.stack([squashed(image, self.image_side) for image in images]).to(self.device)
        features_IND = self.mllm.get_image_features(
            pixel_values=pixels_I3SS.to(self.embeddings.weight.dtype),
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
        ).pooler_output
        return Seen(features_IND.flatten(0, 1), (features_IND.shape[1],) * len(images))

    def ids(self, seen: Seen, text: str, answer: str = "") -> Ids:
        request = place_images(text, [f"{START}{CONTEXT * count}{END}" for count in seen.counts])
        whole = self.template.around(request)
        return list(self.tokenizer.encode(whole)) + list(self.tokenizer.encode(answer, add_special_tokens=False))


def squashed(image: NDArray[np.uint8], side: int) -> Tensor:
    """(3, S, S) float32, normalised; as torchvision resizes a PIL image."""
    from PIL import Image

    small = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    pixels_3SS = torch.from_numpy(np.array(small)).permute(2, 0, 1).float().div(255)
    return (pixels_3SS - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
