"""The pydantic models of the config's section `selector`; architectures bring their own sections along (stages/selectors)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from stages.core.config.section import NonNegative, Parts, Positive, PositiveFloat, Precision, Section, Threshold, Unit


class SelectorSources(Section):
    train: list[str] = Field(min_length=1, description="Track sources the selector is trained on")
    evaluate: list[str] = Field(min_length=1, description="Track sources it chooses from")


class Tda(Section):
    alpha: NonNegative = Field(description="Share of the frames that are like the track's vector; 0 = off")
    temperature: PositiveFloat = Field(description="τ of the softmax over the visible frames")


class Detector(Section):
    source: str = Field(description="Prompt source whose scores are read: what it found for a sentence, and how surely")
    match_iou: Annotated[float, Field(gt=0, le=1)] = Field(
        description="A prompt speaks for every track whose mask in its frame has at least this IoU with its own"
    )


class SelectorTraining(Section):
    epochs: Positive = Field(description="Passes over the training expressions")
    patience: Positive | None = Field(
        description="Training stops after this many epochs without a better validation J&F; null = never early"
    )
    batch_size: Positive = Field(description="Expressions per step, over all processes")
    expressions_per_video: Positive = Field(
        description="Most expressions of one video in a step; they share its tracks, and what is computed without words"
    )
    foreign_tracks: Annotated[int, Field(ge=0)] = Field(
        description="gdino tracks of a video's other expressions added to each as hard negatives, drawn every epoch"
    )
    statements: Annotated[int, Field(ge=0)] = Field(
        description="Most statements of a video in an epoch, beside its expressions and drawn anew every epoch; 0 = off. "
        "Only data sets that have them (see docs/shapes.md) are changed by it"
    )
    weight_decay: NonNegative = Field(description="Weight decay of AdamW")
    schedule: Literal["plateau", "linear"] = Field(
        description="The learning rate: plateau = falls where the validation loss does; linear = straight to almost zero "
        "over the second half of the epochs"
    )
    plateau_factor: Unit = Field(
        description="plateau: the learning rate is multiplied by this where the validation loss no longer falls"
    )
    plateau_patience: Annotated[int, Field(ge=0)] = Field(description="Epochs without improvement before that")
    clip_norm: PositiveFloat = Field(description="Gradient norm is clipped to this")
    precision: Precision = Field(description="Arithmetic on a GPU; the CPU trains in float32")
    positive_iou: Unit = Field(description="A track is positive above this mean IoU with a referred annotation")
    positive_weight: PositiveFloat = Field(description="Weight of positive tracks in the loss")
    validation_threshold: Threshold = Field(
        description="Decision threshold of the J&F that picks the best epoch; auto = that of the epoch's best J&F"
    )
    seed: int = Field(description="Seed of initialisation, order and dropout")


class Selector(Parts):
    """Its parts are the architectures' own sections; only the chosen one's enters a stamp."""

    name: str = Field(description="The architecture; its own section is selector.<name>")
    sources: SelectorSources
    tda: Tda
    inputs: list[Literal["course", "detector"]] = Field(
        description="What sola and soc see beside object tokens and words; none = the published networks. course = where "
        "a track is and how it moves; detector = what `detector` said about it"
    )
    detector: Detector = Field(description="Read for selectors that see its scores, and for no other")
    training: SelectorTraining
    threshold: Threshold = Field(
        description="A track is chosen when sigmoid(final score) exceeds this; auto = as calibrated in training, .5 for "
        "an imported checkpoint"
    )

    @property
    def own(self) -> Any:
        """The section of the chosen architecture."""
        return self[self.name]
