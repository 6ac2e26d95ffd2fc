"""The pydantic models of the config's section `seg_training`: how train_seg trains the model of source `seg`."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stages.core.config.section import NonNegative, Positive, PositiveFloat, Precision, Section, Unit

Share = Annotated[float, Field(ge=0, lt=1)]


class Lora(Section):
    rank: Positive = Field(description="r of each adapter's two matrices")
    alpha: PositiveFloat = Field(description="What an adapter adds is multiplied by alpha / rank")
    dropout: Share = Field(description="Dropout of an adapter's input")
    targets: Annotated[list[str], Field(min_length=1)] = Field(
        description="Linear layers of the language model that get one, by the ends of their names; [all-linear] = all"
    )


class Trained(Section):
    """What is trained; the rest stays as it is."""

    language: Literal["lora", "all", "none"] = Field(
        description="The language model: lora = adapters beside its weights, merged into them on export; all = its "
        "weights; none = nothing"
    )
    embeddings: bool = Field(description="lora, none: its input embeddings and its head too")
    vision: bool = Field(description="The MLLM's vision tower and projector")
    projection: bool = Field(description="text_hidden_fcs: states of [SEG] → prompts of SAM2")
    decoder: bool = Field(description="SAM2's mask decoder (the tuned one)")
    image_encoder: bool = Field(description="SAM2's image encoder")

    @model_validator(mode="after")
    def _trains_something(self) -> "Trained":
        if self.language == "none" and not any(value is True for value in dict(self).values()):
            raise ValueError("nothing is trained: set language, or one of the others to true")
        return self


class LossWeights(Section):
    text: NonNegative = Field(description="Cross-entropy of the answer's tokens")
    mask: NonNegative = Field(description="Binary cross-entropy of mask logits, at points")
    dice: NonNegative = Field(description="Dice loss, at the same points")


class Points(Section):
    """Where mask losses are measured, as in PointRend (arXiv 1912.08193)."""

    count: Positive = Field(description="Points of a mask")
    oversample: Annotated[float, Field(ge=1)] = Field(
        description="Times as many are drawn, of which the most uncertain are taken"
    )
    uncertain: Unit = Field(description="Share of points taken so; the rest are anywhere")


class SegTraining(Section):
    also: list[str] = Field(description="More <dataset>/<split> to train on, with ground truth")
    validate_on: str | None = Field(description="<dataset>/<split> measured after every epoch; null = none")
    validation_sentences: Positive = Field(description="Sentences measured there, evenly over the split")
    epochs: Positive = Field(description="Passes over the sentences")
    batch_size: Positive = Field(description="Sentences per step, over all processes")
    expressions_per_video: Positive = Field(description="Most sentences of a video in a step; they share its images")
    frames: Positive = Field(
        description="Most frames per sentence whose masks are learnt, of those that are shown whole"
    )
    trained: Trained
    lora: Lora
    learning_rate: PositiveFloat = Field(description="The highest, after the warm-up")
    weight_decay: NonNegative = Field(description="Weight decay of AdamW")
    warm_up: Share = Field(description="Share of the steps in which the learning rate rises; then it falls as a cosine")
    clip_norm: PositiveFloat = Field(description="Gradient norm is clipped to this")
    loss: LossWeights
    points: Points
    gradient_checkpointing: bool = Field(description="The MLLM's layers are computed twice, in less memory")
    precision: Precision = Field(
        description="Arithmetic on a GPU, and of frozen weights of the MLLM there; the CPU trains in float32"
    )
    seed: int = Field(description="Seed of adapters, order, frames, points and dropout")

    @field_validator("also", "validate_on")
    @classmethod
    def _names_splits(cls, value: list[str] | str | None) -> list[str] | str | None:
        for reference in [value] if isinstance(value, str) else value or []:
            if not re.fullmatch(r"[^/]+/[^/]+", reference):
                raise ValueError(f"{reference!r} is not of the form <dataset>/<split>")
        return value
