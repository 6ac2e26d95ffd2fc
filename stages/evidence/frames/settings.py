"""The section `evidence.<name>.frames`: which frames a model is shown."""

from typing import Annotated, Literal

from pydantic import Field

from stages.core.config.section import NonNegative, Positive, PositiveFloat, Section


class FrameSettings(Section):
    """What a mode does not use has no effect."""

    mode: Literal["uniform", "seen", "keyframes", "packed", "clips"] = Field(
        description="uniform = evenly over time; seen = evenly over the frames in which any candidate is visible; keyframes = the best of each of `count` stretches of time; packed = "
        "keyframes, each beside a picture with grid² smaller frames of its stretch (view numbered); clips = the keyframes of each of "
        "`clips` stretches are judged apart"
    )
    count: Positive = Field(description="Frames per video; in mode clips per clip")
    clips: Positive = Field(description="clips: stretches of time that are judged apart, pooled by logsumexp")
    grid: Annotated[int, Field(ge=2, le=4)] = Field(description="packed: rows and columns of smaller frames")
    quality: Literal["faithful", "balanced"] = Field(
        description="How good a frame is for a track: faithful = softmax over time of the object score, plus that of the "
        "token's similarity to the track (VRS-HQ); balanced = σ(object score), plus the similarity at its weight"
    )
    object_temperature: PositiveFloat = Field(description="balanced: τ of the object score")
    similarity_temperature: PositiveFloat = Field(description="balanced: τ of the similarity")
    similarity_weight: NonNegative = Field(description="balanced: η, weight of the similarity")
