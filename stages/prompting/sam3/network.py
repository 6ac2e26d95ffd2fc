"""transformers' SAM3 on one image: what each of several concepts has in it.

An image is encoded once for all concepts, and a concept's words once for all images.

Legend: B concepts, L words of a concept, C channels of a word, Q queries, N instances, h × w a mask of the model, H × W the frame.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate
from torch.nn.utils.rnn import pad_sequence

from stages.core.media import masks
from stages.core.records import Rle
from stages.core.run.batches import Batches
from stages.prompting.sam3.settings import Sam3Prompts
from stages.prompting.sam3.suppression import kept_masks

PHRASES = 4096  # whose words are kept: 16 kB each
LENGTH = 32  # tokens of a phrase, as SAM3 was trained
MASKS_PER_CALL = 8  # probabilities at frame size are 8 MB per mask at 1080p
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Words:
    """A concept as SAM3 is told it: vectors, and which of them count."""

    vectors_LC: torch.Tensor
    valid_L: torch.Tensor


@dataclass(frozen=True)
class Instance:
    """What one concept has in one frame.

    Attributes:
        box: x0 y0 x1 y1 in pixels, the detector's own.
        score: probability.
    """

    frame: int
    rle: Rle
    box: tuple[float, float, float, float]
    score: float


class Sam3Network:
    """A Sam3Model with its processor.

    Args:
        concepts: how many are looked for at once.
    """

    def __init__(self, model: Any, processor: Any, settings: Sam3Prompts, concepts: int) -> None:
        self.model, self.processor, self.settings = model, processor, settings
        self.batches = Batches(concepts, "concepts")
        self._known: OrderedDict[str, Words] = OrderedDict()

    @property
    def width(self) -> int:
        """C."""
        return int(self.model.text_projection.out_features)

    @torch.inference_mode()
    def words(self, phrase: str) -> Words:
        """What SAM3's own text encoder makes of a phrase."""
        if phrase not in self._known:
            tokens = self.processor.tokenizer(
                phrase, return_tensors="pt", padding="max_length", max_length=LENGTH, truncation=True
            ).to(self.model.device)
            features = self.model.get_text_features(**tokens, return_dict=True).pooler_output
            self._known[phrase] = Words(features[0], tokens["attention_mask"][0].bool())
            if len(self._known) > PHRASES:
                self._known.popitem(last=False)
        return self._known[phrase]

    def given(self, vectors_LC: torch.Tensor) -> Words:
        """Vectors that stand for a concept without its words."""
        vectors_LC = vectors_LC.to(self.model.device, self.model.dtype)
        return Words(vectors_LC, torch.ones(len(vectors_LC), dtype=torch.bool, device=vectors_LC.device))

    def pixels(self, image_HW3: NDArray[np.uint8]) -> torch.Tensor:
        """(1, 3, side, side), as the model takes a frame."""
        prepared = self.processor.image_processor(
            images=[image_HW3], input_data_format="channels_last", return_tensors="pt"
        )
        pixels: torch.Tensor = prepared["pixel_values"].to(self.model.device, self.model.dtype)
        return pixels

    @torch.inference_mode()
    def find(self, frame: int, image_HW3: NDArray[np.uint8], concepts: Sequence[Words]) -> list[list[Instance]]:
        """The instances of each concept in a frame, surest first."""
        vision = self.model.get_vision_features(pixel_values=self.pixels(image_HW3))
        size = image_HW3.shape[:2]
        return [
            instances
            for _, part in self.batches.run(concepts, lambda part: self._detect(frame, size, vision, part))
            for instances in part
        ]

    def _detect(
        self, frame: int, size: tuple[int, ...], vision: Any, concepts: Sequence[Words]
    ) -> list[list[Instance]]:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        valid_BL = pad_sequence([words.valid_L for words in concepts], batch_first=True)
        vectors_BLC = pad_sequence([words.vectors_LC for words in concepts], batch_first=True)
        output = self.model(
            vision_embeds=_repeated(vision, len(concepts)),
            text_embeds=BaseModelOutputWithPooling(pooler_output=vectors_BLC),
            attention_mask=valid_BL.long(),
        )
        score_BQ = output.pred_logits.float().sigmoid() * output.presence_logits.float().sigmoid()
        if not torch.isfinite(score_BQ).all():
            raise ValueError(
                "SAM3's scores are not finite: set prompts.sam3.precision to float32, or check its weights"
            )
        return [
            self._instances(frame, size, score_BQ[b], output.pred_masks[b], output.pred_boxes[b])
            for b in range(len(concepts))
        ]

    def _instances(
        self, frame: int, size: tuple[int, ...], score_Q: torch.Tensor, logits_Qhw: torch.Tensor, boxes_Q4: torch.Tensor
    ) -> list[Instance]:
        sure = torch.nonzero(score_Q > self.settings.score_threshold)[:, 0]
        chosen = kept_masks(logits_Qhw[sure] > 0, score_Q[sure], self.settings.nms_iou)[: self.settings.max_instances]
        best = sure[torch.tensor(chosen, dtype=torch.long, device=sure.device)]
        scale = torch.tensor([size[1], size[0]] * 2, device=boxes_Q4.device)
        boxes = (boxes_Q4[best].float() * scale).tolist()
        rles = at_frame_size(logits_Qhw[best], size)
        found = zip(rles, boxes, score_Q[best].tolist(), masks.area(rles), strict=True)
        return [Instance(frame, rle, _box(box), score) for rle, box, score, area in found if area]


def at_frame_size(logits_Nhw: torch.Tensor, size: tuple[int, ...]) -> list[Rle]:
    """Masks of the model as masks of the frame: probabilities are enlarged, then cut at a half, as published."""
    rles: list[Rle] = []
    for part_Nhw in logits_Nhw.split(MASKS_PER_CALL) if len(logits_Nhw) else ():
        chance_N1hw = part_Nhw.float().sigmoid()[:, None]
        chance_NHW = interpolate(chance_N1hw, size=size, mode="bilinear", align_corners=False)[:, 0]
        rles += masks.encode_all((chance_NHW > 0.5).cpu().numpy())
    return rles


def _repeated(vision: Any, count: int) -> Any:
    """An image's features for `count` concepts, without a copy."""
    levels = {
        name: tuple(level.expand(count, *level.shape[1:]) for level in getattr(vision, name))
        for name in ("fpn_hidden_states", "fpn_position_encoding")
    }
    return type(vision)(**levels)


def _box(box: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    return x0, y0, x1, y1


def load(folder: Path, settings: Sam3Prompts, device: str, concepts: int) -> tuple[Sam3Network, Any]:
    """The network, and the video model around it where SAM3 follows its instances itself; nothing is downloaded.

    Args:
        folder: config.json of model_type sam3_video (the published one) or sam3, processor, tokenizer, and safetensors.

    Raises:
        ValueError: something of it is missing, damaged or of other shapes.
    """
    from safetensors import SafetensorError
    from transformers import Sam3Model, Sam3VideoModel, Sam3VideoProcessor

    classes = {"engine": Sam3Model, "own": Sam3VideoModel}
    try:
        model, report = classes[settings.follow].from_pretrained(
            folder, local_files_only=True, dtype=DTYPES[settings.precision], output_loading_info=True
        )
        processor = Sam3VideoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{folder}: SAM3 does not load: {' '.join(str(error).split())[:500]}") from error
    if missing := sorted(map(str, report["missing_keys"])):
        raise ValueError(f"{folder}: {len(missing)} weights of SAM3 are missing, first {missing[0]}: fetch it again")
    if getattr(model.config, "random_weights", False):
        log.warning("%s: its weights are random; what it finds means nothing", folder)
    model = model.eval().to(device)
    own = model if settings.follow == "own" else None
    return Sam3Network(own.detector_model if own else model, processor, settings, concepts), own
