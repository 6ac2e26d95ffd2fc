"""The language side of Chat-UniVi (arXiv 2311.08046), as VRS-HQ was trained on it: CLIP, token clustering, Llama.

An image is resized and cropped as CLIP's, its patches are merged into 64, 32 and 16 clusters, which are its 112 tokens.

Legend: I images, N image tokens, D language width.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from stages.prompting.seg.checkpoint.clustering import merged
from stages.prompting.seg.checkpoint.language import Ids, LanguageSide, Seen
from stages.prompting.seg.checkpoint.templates import Template

MARKS = r"(\[SEG\]|\[TAK\])"
IMAGE = -200  # where an image token is; no token of the vocabulary
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP


class ChatUniViModel(nn.Module):
    """The parts of Chat-UniVi that have tensors.

    Attributes:
        vision_tower: CLIPVisionModel.
        mm_projector: tokens of the vision tower → language width.
        language: LlamaForCausalLM.
    """

    def __init__(self, vision_tower: Any, mm_projector: nn.Linear, language: Any) -> None:
        super().__init__()
        self.vision_tower, self.mm_projector, self.language = vision_tower, mm_projector, language


class ChatUniVi(LanguageSide):
    """`LanguageSide` of `ChatUniViModel`.

    Attributes:
        clusters: of each step.
        layer: of the vision tower whose states are an image's tokens.
    """

    def __init__(
        self, mllm: ChatUniViModel, tokenizer: Any, template: Template, clusters: Sequence[int], layer: int
    ) -> None:
        from transformers import CLIPImageProcessor

        super().__init__()
        self.mllm, self.tokenizer, self.template = mllm, tokenizer, template
        self.clusters, self.layer, self.image_id, self.ends = tuple(clusters), layer, IMAGE, (template.end,)
        side = mllm.vision_tower.config.image_size
        self.image_processor = CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_mean=MEAN, image_std=STD
        )

    @property
    def decoder(self) -> Any:
        return self.mllm.language.model

    @property
    def head(self) -> Any:
        return self.mllm.language.lm_head

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Seen:
        from PIL import Image

        pictures = [Image.fromarray(image) for image in images]
        pixels = self.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        output = self.mllm.vision_tower(pixels.to(self.device, self.embeddings.weight.dtype), output_hidden_states=True)
        tokens_INC = merged(output.hidden_states[self.layer][:, 1:], self.clusters)
        features_IND = self.mllm.mm_projector(tokens_INC)
        return Seen(features_IND.flatten(0, 1), (tokens_INC.shape[1],) * len(images))

    def ids(self, seen: Seen, text: str, answer: str = "") -> Ids:
        """Pieces between images are encoded one by one, and the answer with the last of them, as in training.

        A single `<image>` stands for all images, each with its number before it.
        """
        if text.count("<image>") == 1:
            text = text.replace("<image>", ", ".join(f"({i})<image>" for i in range(len(seen.counts))))
        whole = self.template.around(text) + answer
        pieces = (whole if answer else whole.rstrip()).split("<image>")
        if len(pieces) - 1 != len(seen.counts):
            raise ValueError(f"{text!r}: holds <image> {len(pieces) - 1} times, for {len(seen.counts)} images")
        ids = [self.tokenizer.bos_token_id]
        for piece, count in zip(pieces, (*seen.counts, 0), strict=True):
            ids += self._encoded(piece) + [IMAGE] * count
        return ids

    def _encoded(self, piece: str) -> Ids:
        """As the slow tokenizer of the training did: blanks around an added token go, and what follows it begins anew."""
        parts = re.split(MARKS, piece)
        last = len(parts) - 1
        ids: Ids = []
        for i, part in enumerate(parts):
            if i % 2:
                ids.append(self.tokenizer.convert_tokens_to_ids(part))
                continue
            part = part.lstrip() if i > 0 else part
            part = part.rstrip() if i < last else part
            ids += self.tokenizer.encode(part, add_special_tokens=False) if part else []
        return ids
