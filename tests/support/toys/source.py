"""A prompt source: for the first expression a square in a corner, for the last one another; for no other anything."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from stages.core.config.section import Positive, Section
from stages.core.media import masks
from stages.core.records import Split, Video
from stages.core.run.cli import Job
from stages.core.state.frames import FrameFolder
from stages.core.state.prompt_file import Prompt
from stages.core.tables import PromptsOf, PromptSource


class Corners(Section):
    side: Positive = Field(16, description="Of the squares, in pixels")


def corner(frames: FrameFolder, expression: int, side: int) -> Prompt:
    mask_HW = np.zeros(frames.size, bool)
    rows = slice(0, side) if expression == 0 else slice(-side, None)
    mask_HW[rows, rows] = True
    rle = masks.encode(mask_HW)
    x0, y0, x1, y1 = map(float, masks.boxes([rle])[0])
    return Prompt(frame=0, mask=rle, box=(x0, y0, x1, y1), expression=expression)


def ingredients(job: Job, split: Split, video: Video) -> Mapping[str, Any]:
    return {"expressions": len(video.expressions)}


def load(job: Job, split: Split, device: str) -> PromptsOf:
    side = job.settings.prompts[SOURCE.name].side
    return lambda video, frames: [corner(frames, e, side) for e in sorted({0, len(video.expressions) - 1})]


SOURCE = PromptSource(
    name="corners", settings=Corners, roles=(), needs_truth=False, filtered=True, ingredients=ingredients, load=load
)
