"""Source `gdino`: GroundingDINO's boxes for every expression, turned into masks by SAM2."""

from collections.abc import Mapping
from typing import Any

from stages.core.records import Split, Video
from stages.core.run.cli import Job
from stages.core.state.fingerprints import expressions_digest
from stages.core.state.weights import find_weights
from stages.core.tables import PromptsOf, PromptSource
from stages.core.work import Load, Work, encoding
from stages.prompting.grounding_dino.settings import GroundingDinoPrompts


def _ingredients(job: Job, split: Split, video: Video) -> Mapping[str, Any]:
    return {"expressions": expressions_digest(video)}


def _load(job: Job, split: Split, device: str) -> PromptsOf:
    from stages.prompting.grounding_dino.detector import load_detector
    from stages.prompting.grounding_dino.prompter import GroundingDinoPrompter
    from stages.tracking.sam2_model import load_image_model

    settings = job.settings.prompts[SOURCE.name]
    sam2 = load_image_model(find_weights(job.config, job.dataset, "sam2"), device)
    weights = find_weights(job.config, job.dataset, "grounding_dino")
    detector = load_detector(weights, settings, device, job.settings.run.batches.pairs)
    job.batches["pairs"] = detector.batches
    return GroundingDinoPrompter(detector, sam2, settings).prompts


# A frame through the backbone at 750 × 1333, and a pair of a frame and a sentence, of 8 that are computed together.
FRAME, PAIR = Work(179, 2.0, 300), Work(583, 6.0, 900 / 8)


def _work(settings: Any, models: Any, n_frames: int, n_expressions: int) -> list[Load]:
    n_shown = len(settings.frames.select(n_frames))
    frame, pair = (work._replace(precision=settings.precision) for work in (FRAME, PAIR))
    return [Load(encoding(models["sam2"].config), n_shown), Load(frame, n_shown), Load(pair, n_shown * n_expressions)]


SOURCE = PromptSource(
    name="gdino",
    settings=GroundingDinoPrompts,
    roles=("sam2", "grounding_dino"),
    needs_truth=False,
    filtered=True,
    ingredients=_ingredients,
    load=_load,
    work=_work,
)
