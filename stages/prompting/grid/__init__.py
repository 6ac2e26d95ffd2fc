"""Source `grid`: SAM2's automatic masks on a few frames. They serve all expressions of a video."""

from collections.abc import Mapping
from typing import Any, Literal

from stages.core.config.loading import dataset_of
from stages.core.records import Split, Video
from stages.core.run.cli import Job
from stages.core.state.weights import find_weights
from stages.core.tables import PromptsOf, PromptSource
from stages.core.work import POINTS, Load, encoding
from stages.prompting.grid.settings import GridPrompts


def _role(job: Job) -> Literal["train", "evaluate"]:
    """Whether the split trains or evaluates: it decides which frames get automatic masks."""
    return dataset_of(job.config, job.dataset).splits[job.split].role


def _ingredients(job: Job, split: Split, video: Video) -> Mapping[str, Any]:
    return {"role": _role(job)}


def _load(job: Job, split: Split, device: str) -> PromptsOf:
    from stages.prompting.grid.prompter import GridPrompter
    from stages.tracking.sam2_model import load_image_model

    sam2 = load_image_model(find_weights(job.config, job.dataset, "sam2"), device)
    settings = job.settings.prompts[SOURCE.name]
    prompter = GridPrompter(sam2, settings, _role(job), job.settings.run.batches.points)
    job.batches["points"] = prompter.batches
    return prompter.prompts


def _work(settings: Any, models: Any, n_frames: int, n_expressions: int) -> list[Load]:
    n_shown = len(settings.frames_evaluate.select(n_frames))
    return [
        Load(encoding(models["sam2"].config), n_shown),
        Load(POINTS, n_shown * (settings.points_per_side / 32) ** 2),
    ]


SOURCE = PromptSource(
    name="grid",
    settings=GridPrompts,
    roles=("sam2",),
    needs_truth=False,
    filtered=True,
    ingredients=_ingredients,
    load=_load,
    asks=False,
    work=_work,
)
