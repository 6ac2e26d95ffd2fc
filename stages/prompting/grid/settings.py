"""The section `prompts.grid` of the config."""

from typing import Annotated

from pydantic import Field

from stages.core.config.section import Positive, Precision, Section, Unit
from stages.prompting.frame_choice import FrameChoice


class GridPrompts(Section):
    frames_train: FrameChoice = Field(description="Frames that get automatic masks in splits of role train")
    frames_evaluate: FrameChoice = Field(description="Frames that get automatic masks in splits of role evaluate")
    points_per_side: Positive = Field(description="Side of the grid of point prompts")
    pred_iou_thresh: Unit = Field(description="Masks of lower predicted IoU are dropped")
    stability_score_thresh: Unit = Field(description="Masks of lower stability are dropped")
    stability_score_offset: Annotated[float, Field(ge=0)] = Field(
        description="Shift of the logit threshold that stability is measured with"
    )
    box_nms_thresh: Unit = Field(description="IoU of boxes above which the worse of two masks is dropped")
    min_mask_region_area: Annotated[int, Field(ge=0)] = Field(
        description="Holes and islands below this area in pixels are cleaned; 0 = off"
    )
    part_overlap: Unit = Field(
        description="A mask with more than this share inside a kept larger one is a part, and dropped"
    )
    precision: Precision = Field(description="Arithmetic of SAM2 here")
