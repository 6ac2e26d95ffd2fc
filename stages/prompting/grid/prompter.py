"""Prompts from SAM2's automatic masks: a grid of points on a few frames, parts removed.

Which frames, and the removal of parts, are SOLA's (arXiv 2412.01136).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base

from stages.core.media import masks
from stages.core.records import Rle, Video
from stages.core.run import progress
from stages.core.run.batches import Batches
from stages.core.state.frames import FrameFolder
from stages.core.state.prompt_file import Prompt
from stages.prompting.frame_choice import FrameChoice
from stages.prompting.grid.automatic_masks import AutomaticMasks
from stages.prompting.grid.settings import GridPrompts
from stages.prompting.ground_truth import mask_box


class GridPrompter:
    """Automatic masks on chosen frames."""

    def __init__(self, model: SAM2Base, settings: GridPrompts, role: Literal["train", "evaluate"], points: int) -> None:
        self._masks = AutomaticMasks(model, settings, points)
        self._settings = settings
        self._choice: FrameChoice = settings.frames_train if role == "train" else settings.frames_evaluate

    @property
    def batches(self) -> Batches:
        """What cuts a frame's points."""
        return self._masks.batches

    def prompts(self, video: Video, frames: FrameFolder) -> list[Prompt]:
        """Frame by frame, by falling area; they serve all expressions."""
        chosen = progress.steps(self._choice.select(len(frames)))
        return [prompt for index in chosen for prompt in self._frame(index, frames.load(index))]

    def _frame(self, index: int, image_HW3: NDArray[np.uint8]) -> list[Prompt]:
        candidates = self._masks.generate(image_HW3)
        candidates = [mask for mask, area in zip(candidates, masks.area([mask.rle for mask in candidates])) if area > 0]
        rles = [mask.rle for mask in candidates]
        return [
            Prompt(
                frame=index,
                mask=rles[i],
                box=mask_box(rles[i]),
                mask_score=candidates[i].predicted_iou,
                stability=float(np.nan_to_num(candidates[i].stability)),
            )
            for i in without_parts(rles, self._settings.part_overlap)
        ]


def without_parts(rles: Sequence[Rle], part_overlap: float) -> list[int]:
    """Indices of the masks that are not parts, by falling area; ties go to the lower index.

    A mask is a part, and dropped, when more than `part_overlap` of it is inside a kept one before it.
    """
    inside_NN = masks.containment_matrix(rles, rles)
    kept: list[int] = []
    for i in np.argsort(-masks.area(rles).astype(int), kind="stable"):
        if not (inside_NN[i, kept] > part_overlap).any():
            kept.append(int(i))
    return kept
