"""The section `prompts.sam3` of the config."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from stages.core.config.section import Positive, Precision, Section, Unit
from stages.prompting.frame_choice import FrameChoice


class OwnTracks(Section):
    """How SAM3's own video model is run."""

    chunk: Positive = Field(description="Frames per chunk: what it remembers grows with them, and ends with the chunk")
    overlap: Positive = Field(description="Frames that neighbouring chunks share, in which their tracks are joined")
    join_iou: Unit = Field(
        description="Tracks of neighbouring chunks are one object from this IoU in the shared frames on"
    )
    new_threshold: Unit = Field(description="Instances of lower score begin no track")

    @model_validator(mode="after")
    def _goes_forward(self) -> "OwnTracks":
        if self.overlap >= self.chunk:
            raise ValueError("overlap must be smaller than chunk")
        return self


class Sam3Prompts(Section):
    phrases_by: str | None = Field(
        description="Who names the concepts of a sentence: an entry of `evidence`, by its MLLM; null = a rule that takes "
        "nouns and their adjectives"
    )
    phrase_frames: Annotated[int, Field(ge=0)] = Field(
        description="phrases_by: frames of the video that the MLLM sees, evenly spaced; 0 = the sentence alone"
    )
    retries: Annotated[int, Field(ge=0)] = Field(description="Further phrases that are tried where nothing is found")
    embeddings: str | None = Field(
        description="A safetensors file of prompts as vectors, <video>/<expression> → (tokens, width of SAM3's text "
        "features): they take the place of that sentence's phrases; null = none"
    )
    frames: FrameChoice = Field(description="Frames that are searched")
    score_threshold: Unit = Field(description="Instances of lower score are dropped")
    nms_iou: Unit = Field(description="Of instances whose masks share more than this, the surer one is kept")
    max_instances: Positive = Field(description="Best instances kept per frame and phrase")
    follow: Literal["engine", "own"] = Field(
        description="What follows the instances: engine = build_tracks, from prompts; own = SAM3's own video model, whose "
        "tracks build_tracks takes as they are: they have no object tokens, so evidence decides about them"
    )
    own: OwnTracks
    precision: Precision = Field(description="Arithmetic of SAM3")

    def stamped(self) -> dict[str, Any]:
        """Of `embeddings` what it says, and not where it is (`_ingredients`); `own` where it is used."""
        unused = {"embeddings"} | ({"own"} if self.follow == "engine" else set())
        unused |= {"phrase_frames"} if self.phrases_by is None else set()
        return self.model_dump(mode="json", exclude=unused)
