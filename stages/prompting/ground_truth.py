"""Prompts from ground truth: one mask per annotation. No model runs."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from stages.core.config.section import Section
from stages.core.media import masks
from stages.core.records import MaskSequence, Rle, Split, Video
from stages.core.run.cli import Job
from stages.core.state.fingerprints import annotations_digest
from stages.core.state.frames import FrameFolder
from stages.core.state.prompt_file import Prompt
from stages.core.tables import SOURCES, PromptsOf, PromptSource


class GroundTruthPrompts(Section):
    frame: Literal["first", "largest"] = Field(
        description="Which frame of an annotation is its prompt: the first it is seen in, or where it is largest"
    )


class GroundTruthPrompter:
    """Reads the annotations of a split."""

    def __init__(self, split: Split, settings: GroundTruthPrompts) -> None:
        require_truth(split, SOURCE.name)
        self._split = split
        self._settings = settings

    def prompts(self, video: Video, frames: FrameFolder) -> list[Prompt]:
        """A prompt for each annotation that is seen at all, in the order of the annotations.

        Raises:
            ValueError: an annotation does not fit the frames.
        """
        prompts: list[Prompt] = []
        for key, annotation in self._split.annotations(video).items():
            frame = prompt_frame(annotation, self._settings.frame)
            rle = None if frame is None else annotation[frame]
            if frame is None or rle is None:
                continue
            _check_fit(key, annotation, rle, frames)
            prompts.append(Prompt(frame, rle, mask_box(rle), annotation=key))
        return prompts


def prompt_frame(annotation: MaskSequence, which: Literal["first", "largest"]) -> int | None:
    """The first frame an object is seen in, or that of its largest mask (ties go to the first); None if unseen."""
    area_T = [0 if rle is None else int(masks.area([rle])[0]) for rle in annotation]
    if not any(area_T):
        return None
    return int(np.argmax(area_T)) if which == "largest" else int(np.flatnonzero(area_T)[0])


def mask_box(rle: Rle) -> tuple[float, float, float, float]:
    """x0 y0 x1 y1 of a mask in pixels, x1 and y1 exclusive."""
    x0, y0, x1, y1 = map(float, masks.boxes([rle])[0])
    return x0, y0, x1, y1


def require_truth(split: Split, source: str) -> None:
    """Raises ValueError where a split has no ground truth, which `source` needs."""
    if not split.has_truth:
        others = ", ".join(name for name, other in SOURCES.items() if not other.needs_truth)
        raise ValueError(
            f"split {split.name!r} has no ground truth, so there are no {source} prompts for it: use --source with one "
            f"of {others}, and take {source} out of selector.sources for splits of its role"
        )


def _check_fit(key: str, annotation: MaskSequence, rle: Rle, frames: FrameFolder) -> None:
    if len(annotation) != len(frames) or tuple(rle["size"]) != frames.size:
        raise ValueError(
            f"annotation {key!r} has {len(annotation)} frames of size {tuple(rle['size'])}, the frame folder "
            f"{len(frames)} of {frames.size}: extract all frames at native size (config: frames), or fix it"
        )


def _ingredients(job: Job, split: Split, video: Video) -> Mapping[str, Any]:
    return {"annotations": annotations_digest(video, split.annotations(video))}


def _load(job: Job, split: Split, device: str) -> PromptsOf:
    return GroundTruthPrompter(split, job.settings.prompts[SOURCE.name]).prompts


SOURCE = PromptSource(
    name="gt",
    settings=GroundTruthPrompts,
    roles=(),
    needs_truth=True,
    filtered=False,
    ingredients=_ingredients,
    load=_load,
    asks=False,
)
