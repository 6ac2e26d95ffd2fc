"""What kinds of evidence that ask an MLLM have in common: what it is shown, and who it is."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stages.core.backends import Backed
from stages.core.config.section import Positive, Unit
from stages.evidence.frames.settings import FrameSettings
from stages.evidence.views.table import VIEWS


class AskingSettings(Backed):
    """What the model is shown, and how its replies become a number."""

    views: list[str] = Field(
        description="How candidates are shown, one way or several together: plain, numbered, highlight, trail, card, facts"
    )
    frames: FrameSettings = Field(description="Which frames are shown")
    max_candidates: Positive | None = Field(
        description="Best candidates by the selector's score; null = all, and scores are not read"
    )
    same_iou: Unit = Field(
        description="Tracks that share more than this over all frames are one candidate; 1 = each is its own"
    )
    frame_side: Positive = Field(description="Longest side in pixels of whole frames")
    card_side: Annotated[int, Field(ge=2)] = Field(description="Side in pixels of a candidate's picture of crops")
    both_polarities: bool = Field(
        description="Ask once so that yes speaks for it and once so that it speaks against it, and average"
    )
    calibrate: bool = Field(description="Subtract what is replied to a description that says nothing")

    @field_validator("views")
    @classmethod
    def _known_once(cls, views: list[str]) -> list[str]:
        if not views:
            raise ValueError("needs at least one view")
        if unknown := [name for name in views if name not in VIEWS]:
            raise ValueError(f"no view {unknown[0]!r}; there are {', '.join(VIEWS)}")
        if len(set(views)) < len(views):
            raise ValueError(f"{views} names a view twice")
        return views

    @property
    def all_at_once(self) -> bool:
        """Whether a question is about all candidates that are shown together."""
        raise NotImplementedError


class JudgeSettings(AskingSettings):
    """Settings of kind `judge`."""

    ask: Literal["yes_no", "choose"] = Field(
        description="yes_no = about each candidate; choose = which of all that are shown, or none, in one question"
    )

    @property
    def all_at_once(self) -> bool:
        return self.ask == "choose"

    @model_validator(mode="after")
    def _candidates_are_shown(self) -> "JudgeSettings":
        if self.views == ["plain"]:
            raise ValueError("views: plain shows no candidate; add one of the others")
        return self


class ExistsSettings(AskingSettings):
    """Settings of kind `exists`."""

    audit: bool = Field(description='A "no" counts as far as a second question names what contradicts the description')

    @property
    def all_at_once(self) -> bool:
        return True
