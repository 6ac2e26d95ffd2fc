"""Kind `judge`: a multimodal LLM says of each candidate whether the expression refers to it."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from stages.core.config.section import Positive, Precision, Section
from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.tables import EvidenceKind, Gather


class JudgeSettings(Section):
    """What the model is shown, and in which arithmetic it answers."""

    keyframes: Positive = Field(description="Frames that the model sees of a video")
    max_candidates: Annotated[int, Field(ge=1, le=8)] = Field(description="Best tracks shown per expression")
    frame_side: Positive = Field(description="Longest side in pixels of the images shown")
    precision: Precision = Field(description="Arithmetic of the model")


def _ingredients(job: Job, settings: JudgeSettings, video: Video) -> Mapping[str, Any]:
    raise NotImplementedError


def _load(job: Job, settings: JudgeSettings, device: str) -> Gather:
    raise NotImplementedError


KIND = EvidenceKind(name="judge", settings=JudgeSettings, roles=("mllm",), ingredients=_ingredients, load=_load)
