"""The prompt stage as published, plain: references for benchmarks/prompts.py and the tests.

The sam2 package's own automatic mask generator, and GroundingDINO asked for one caption in one frame at a time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.sam2_base import SAM2Base

from stages.core.records import Rle
from stages.prompting.grid.settings import GridPrompts
from stages.prompting.grounding_dino.detector import GroundingDino
from stages.prompting.grounding_dino.transformers_backend import published_positions
from stages.tracking.sam2_model import autocast, with_feature_sizes


class StockMasks:
    """The package's generator, for any image size, with its older way to clean small regions, which runs everywhere."""

    def __init__(self, model: SAM2Base, settings: GridPrompts, points: int) -> None:
        self.settings = settings
        self.generator = SAM2AutomaticMaskGenerator(
            model,
            points_per_side=settings.points_per_side,
            points_per_batch=points,
            pred_iou_thresh=settings.pred_iou_thresh,
            stability_score_thresh=settings.stability_score_thresh,
            stability_score_offset=settings.stability_score_offset,
            box_nms_thresh=settings.box_nms_thresh,
            output_mode="coco_rle",
        )
        with_feature_sizes(self.generator.predictor)
        if settings.min_mask_region_area > 0:
            self.generator._generate_masks = self._clean(self.generator._generate_masks)

    def generate(self, image_HW3: NDArray[np.uint8]) -> list[tuple[Rle, float, float]]:
        """RLE, predicted IoU and stability of every mask."""
        with autocast(self.generator.predictor.device.type, self.settings.precision):
            raw_masks = self.generator.generate(image_HW3)
        return [(_to_rle(m["segmentation"]), m["predicted_iou"], m["stability_score"]) for m in raw_masks]

    def _clean(self, generate_masks: Any) -> Any:
        settings = self.settings
        return lambda image: self.generator.postprocess_small_regions(
            generate_masks(image), settings.min_mask_region_area, settings.box_nms_thresh
        )


def one_by_one(
    model: Any, detector: GroundingDino, frames: Sequence[NDArray[np.uint8]], captions: Sequence[str]
) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Token scores (Q, T) and boxes (Q, 4) of each pair: transformers' model in float32, nothing shared.

    Args:
        model: a GroundingDinoForObjectDetection as transformers loads it.
        detector: of the same weights, for frames and captions in the model's form.
    """
    texts = [detector.encode(caption) for caption in captions]
    rows = []
    for frame in frames:
        image, row = detector.network.prepare(frame), []
        for text in texts:
            with torch.inference_mode(), published_positions():
                output = model(**vars(image), **text.inputs)
            row.append((output.logits[0].sigmoid()[:, text.words_T].cpu(), output.pred_boxes[0].cpu()))
        rows.append(row)
    return rows


def _to_rle(raw: dict[str, Any]) -> Rle:
    height, width = raw["size"]
    return {"size": (int(height), int(width)), "counts": raw["counts"]}
