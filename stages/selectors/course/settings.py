"""The section `selector.course` of the config."""

from typing import Annotated, Any

from pydantic import Field

from stages.core.config.section import NonNegative, Positive, PositiveFloat, Section, Unit


class CourseModel(Section):
    """What shapes the network."""

    dim: Positive = Field(description="Width of tracks, words and pairs")
    n_heads: Positive = Field(description="Attention heads")
    n_layers: Positive = Field(description="Layers of words, pairs and feed-forward over the tracks")
    n_text_layers: Annotated[int, Field(ge=0)] = Field(description="Layers over the words before them")
    n_times: Annotated[int, Field(ge=2)] = Field(description="Times of a video at which courses are read")
    dropout: Unit = Field(description="Dropout in the feed-forward blocks and of the pointers")
    pointers: bool = Field(description="Whether it sees SAM2's object tokens: the mean of a track's visible frames")
    detector: bool = Field(description="Whether it sees what `selector.detector` said of a track and the sentence")
    place_noise: NonNegative = Field(description="Training: noise of a box's centre, in shares of the frame")
    size_noise: NonNegative = Field(description="Training: noise of the logarithm of a box's sides")
    missed: Unit = Field(description="Training: share of the frames in which a track is taken for unseen")
    detector_missed: Unit = Field(description="Training: share of the sentences whose detections are withheld")


class CourseSettings(CourseModel):
    """The network, and how it learns."""

    learning_rate: PositiveFloat = Field(description="Of AdamW")
    listwise_weight: NonNegative = Field(
        description="Weight of the loss over all tracks of a sentence and none of them"
    )
    training: dict[str, Any] = Field(
        description="Keys of selector.training that this architecture takes other values for"
    )
