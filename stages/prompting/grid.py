"""Prompts from SAM2's automatic mask generator: a grid of points on a few frames, parts removed.

The mask generator is the sam2 package's own (Segment Anything, arXiv 2304.02643, appendix B); which frames
and the removal of parts are SOLA's (arXiv 2412.01136).
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.sam2_base import SAM2Base
from sam2.utils.amg import MaskData

from stages.core import masks
from stages.core.frames import FrameFolder
from stages.core.prompt_file import Prompt
from stages.core.records import Rle, Video
from stages.core.settings import FrameChoice, GridPrompts
from stages.prompting.ground_truth import mask_box
from stages.tracking.sam2_model import autocast, with_feature_sizes


class GridPrompter:
    """Automatic masks on chosen frames."""

    def __init__(self, model: SAM2Base, settings: GridPrompts, role: Literal["train", "evaluate"]) -> None:
        self._generator = CleaningMaskGenerator(model, settings)
        self._settings = settings
        self._choice: FrameChoice = settings.frames_train if role == "train" else settings.frames_evaluate

    def prompts(self, video: Video, frames: FrameFolder) -> list[Prompt]:
        """Frame by frame, by falling area; they serve all expressions."""
        return [
            prompt for index in self._choice.select(len(frames)) for prompt in self._frame(index, frames.load(index))
        ]

    def _frame(self, index: int, image_HW3: NDArray[np.uint8]) -> list[Prompt]:
        with autocast(self._generator.predictor.device.type, self._settings.precision):
            found = [mask for mask in self._generator.generate(image_HW3) if mask["area"] > 0]
        rles = [_to_rle(mask["segmentation"]) for mask in found]
        return [
            Prompt(
                frame=index,
                mask=rles[i],
                box=mask_box(rles[i]),
                mask_score=float(found[i]["predicted_iou"]),
                stability=float(np.nan_to_num(found[i]["stability_score"])),
            )
            for i in without_parts(rles, self._settings.part_overlap)
        ]


class CleaningMaskGenerator(SAM2AutomaticMaskGenerator):
    """The stock generator for any image size, which cleans small regions on every machine.

    Version 1.1.0 cleans with a CUDA extension and, where that is not built, silently does not; its older
    way (OpenCV, then non-maximum suppression again) is still in the class and runs everywhere.
    """

    def __init__(self, model: SAM2Base, settings: GridPrompts) -> None:
        super().__init__(
            model,
            points_per_side=settings.points_per_side,
            points_per_batch=settings.points_per_batch,
            pred_iou_thresh=settings.pred_iou_thresh,
            stability_score_thresh=settings.stability_score_thresh,
            stability_score_offset=settings.stability_score_offset,
            box_nms_thresh=settings.box_nms_thresh,
            output_mode="coco_rle",
        )
        with_feature_sizes(self.predictor)
        self._clean_area = settings.min_mask_region_area

    def _generate_masks(self, image: NDArray[np.uint8]) -> MaskData:
        data = super()._generate_masks(image)
        if self._clean_area > 0:
            data = self.postprocess_small_regions(data, self._clean_area, self.box_nms_thresh)
        return data


def without_parts(rles: Sequence[Rle], part_overlap: float) -> list[int]:
    """Indices of the masks that are no parts, by falling area (ties by index).

    A mask is a part, and dropped, when more than `part_overlap` of it lies inside a kept one that comes
    before it.
    """
    inside_NN = masks.containment_matrix(rles, rles)
    kept: list[int] = []
    for i in np.argsort(-masks.area(rles).astype(int), kind="stable"):
        if not (inside_NN[i, kept] > part_overlap).any():
            kept.append(int(i))
    return kept


def _to_rle(raw: dict[str, Any]) -> Rle:
    height, width = raw["size"]
    return {"size": (int(height), int(width)), "counts": raw["counts"]}
