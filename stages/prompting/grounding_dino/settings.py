"""The section `prompts.gdino` of the config."""

from typing import Literal

from pydantic import Field

from stages.core.config.section import Positive, Precision, Section, Unit
from stages.prompting.frame_choice import FrameChoice


class GroundingDinoPrompts(Section):
    backend: Literal["transformers", "groundingdino"] = Field(
        description="What runs the detector: transformers, or the authors' package; the weights are the same"
    )
    frames: FrameChoice = Field(description="Frames the detector looks at")
    box_threshold: Unit = Field(description="Boxes of lower score are dropped")
    text_threshold: Unit = Field(description="Tokens of lower score are left out of a box's phrase")
    max_boxes: Positive = Field(description="Best boxes kept per frame and expression")
    stability_min: Unit = Field(description="Box masks of lower stability are dropped")
    precision: Precision = Field(description="Arithmetic of the detector, and of SAM2 for its boxes")
