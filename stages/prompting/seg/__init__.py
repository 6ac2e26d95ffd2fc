"""Source `seg`: masks that a [SEG]-token MLLM decodes for every sentence, by the published variants of that family."""

from collections.abc import Mapping
from typing import Any

from stages.core.config.file import SegModelEntry
from stages.core.records import Split, Video
from stages.core.run.cli import Job
from stages.core.state.fingerprints import expressions_digest
from stages.core.state.weights import find_weights
from stages.core.tables import PromptsOf, PromptSource
from stages.core.work import SEEING, Load, encoding, reading
from stages.prompting.seg.chosen import chosen_frames
from stages.prompting.seg.settings import SegPrompts

ROLE = "seg"


def _ingredients(job: Job, split: Split, video: Video) -> Mapping[str, Any]:
    settings = job.settings.prompts[SOURCE.name]
    expressions = {"expressions": expressions_digest(video)}
    if settings.chosen_frames is None:
        return expressions
    chosen = chosen_frames(settings.chosen_frames, video, settings.chosen_per_sentence)
    return {**expressions, "chosen": {expression: list(frames) for expression, frames in chosen.items()}}


def _load(job: Job, split: Split, device: str) -> PromptsOf:
    from stages.prompting.seg.checkpoint.loading import load_seg_model
    from stages.prompting.seg.prompter import SegPrompter

    settings, batches = job.settings.prompts[SOURCE.name], job.settings.run.batches
    weights = find_weights(job.config, job.dataset, ROLE)
    sam2 = find_weights(job.config, job.dataset, "sam2")  # for checkpoints that hold none
    assert isinstance(weights.model, SegModelEntry)
    model = load_seg_model(weights.path, weights.model, device, settings.precision, sam2)
    prompter = SegPrompter(model, settings, batches.questions, batches.points, batches.tracks)
    job.batches.update(questions=prompter.sentences, points=prompter.tokens, tracks=prompter.objects)
    return prompter.prompts


TOKENS = 256  # of a picture
WORDS = 80  # tokens of a conversation beside the pictures


def _work(settings: Any, models: Any, n_frames: int, n_expressions: int) -> list[Load]:
    kind, own = settings.chosen, settings.own
    plan = kind.plan_unchosen(n_frames, own)
    n_seen = TOKENS * len(plan.images)
    read = Load(reading(models[ROLE]), (n_seen + WORDS) * n_expressions)
    return [Load(encoding(models[ROLE].sam2), len(plan.frames)), Load(SEEING, n_seen), read]


SOURCE = PromptSource(
    name="seg",
    settings=SegPrompts,
    roles=("sam2", ROLE),
    needs_truth=False,
    filtered=True,
    ingredients=_ingredients,
    load=_load,
    first="surest",
    work=_work,
)
