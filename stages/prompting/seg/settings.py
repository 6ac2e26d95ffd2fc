"""The section `prompts.seg` of the config."""

from typing import Any, Literal

from pydantic import Field, model_validator

from stages.core.config.section import Parts, Positive, Precision
from stages.prompting.seg.variants import VARIANTS
from stages.prompting.seg.variants.clips import ClipSettings, ModalClips
from stages.prompting.seg.variants.frames import FewFrames
from stages.prompting.seg.variants.token_driven import TokenDriven
from stages.prompting.seg.variants.variant import Variant


class SegPrompts(Parts):
    """Its parts are the variants' own sections; only the chosen one's enters a stamp."""

    variant: Literal["sa2va", "sa2va_i", "frame_tokens", "svac", "sasasa2va", "vrs_hq"] = Field(
        description="Which frames the MLLM sees, and what its tokens decode; its own section is prompts.seg.<variant>"
    )
    sa2va: FewFrames
    sa2va_i: FewFrames
    frame_tokens: FewFrames
    svac: ClipSettings
    sasasa2va: ModalClips
    vrs_hq: TokenDriven
    answer: Literal["forced", "generated"] = Field(
        description="forced = the known answer is given, which saves all steps of generation; generated = the model's own"
    )
    max_new_tokens: Positive = Field(description="generated: the longest answer")
    chosen_frames: str | None = Field(
        description="JSON file of frames chosen for each sentence beforehand, {video: {selected_frames: {expression: "
        "[frames]}}}: those that mode q_frame shows, or for vrs_hq the one that fits the sentence best; null = none"
    )
    follow: Literal["engine", "tuned"] = Field(
        description="What follows the decoded masks: engine = only build_tracks; tuned = the checkpoint's own SAM2 "
        "first, as Sa2VA was released, and all of its masks are prompts (variants that decode a part of the frames)"
    )
    mask_threshold: float = Field(
        description="A pixel is in a mask where its logit is above this; 0 as published, below it for a model that is "
        "sure of too little"
    )
    precision: Precision = Field(description="Arithmetic of the MLLM and of its SAM2")

    @property
    def chosen(self) -> Variant:
        return VARIANTS[self.variant]

    @property
    def own(self) -> Any:
        """The section of the chosen variant."""
        return self[self.variant]

    @property
    def chosen_per_sentence(self) -> int:
        """How many frames must have been chosen for a sentence."""
        return self.chosen.needs_chosen(self.own)

    @model_validator(mode="after")
    def _has_frames(self) -> "SegPrompts":
        if self.chosen_per_sentence and self.chosen_frames is None:
            raise ValueError("mode q_frame shows frames chosen beforehand: name their file in chosen_frames")
        if self.follow == "tuned" and self.chosen.merge == "track":
            raise ValueError(
                f"follow: tuned has no meaning for {self.variant}, whose one mask is always tracked: set engine"
            )
        return self

    def stamped(self) -> dict[str, Any]:
        """Of the variants only the chosen one; of chosen_frames what it says, and not where it is (`_ingredients`)."""
        rest = self.model_dump(mode="json", exclude={*VARIANTS, "chosen_frames"})
        if self.answer == "forced":
            del rest["max_new_tokens"]
        return {**rest, self.variant: self.own.stamped()}
