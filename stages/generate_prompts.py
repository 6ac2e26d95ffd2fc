"""Finds the objects to track: mask prompts on some frames of every video, from one source.

gt: one mask an annotation (no model). grid: SAM2's automatic masks. gdino: GroundingDINO's boxes for every
expression, turned into masks by SAM2.

Reads the frame folders of extract_frames, annotations or captions, and the weights. Writes one prompt file
a video (stages/core/state/prompt_file.py). It is apart from tracking because trackers are tried out on the same
prompts.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from stages.core.config.loading import dataset_of
from stages.core.records import Split, Video
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import Worker, run_shard
from stages.core.state.cache import Stamp
from stages.core.state.fingerprints import annotations_digest, expressions_digest
from stages.core.state.frames import FrameFolder, open_frames
from stages.core.state.graph import GENERATE_PROMPTS
from stages.core.state.prompt_file import Prompt, write_prompts
from stages.core.state.weights import find_weights, weights_ids
from stages.datasets import open_split
from stages.prompting.ground_truth import require_truth

PromptsOf = Callable[[Video, FrameFolder], list[Prompt]]


def run(job: Job) -> None:
    """Brings the prompt files of the job's shard and source to their finished state."""
    split = open_split(job.config, job.dataset, job.split)
    if job.source == "gt":
        require_truth(split)
    weights = weights_ids(job.config, job.dataset, GENERATE_PROMPTS, job.source)

    def ingredients(video: Video) -> Mapping[str, Any]:
        frames = open_frames(job.layout, video.id).digest
        return {"frames": frames, "weights": weights, **_source_ingredients(job, split, video)}

    def make_worker(device: str) -> Worker:
        prompts_of = _load(job, split, device)

        def work(video: Video, path: Path, stamp: Stamp) -> None:
            frames = open_frames(job.layout, video.id)
            write_prompts(path, stamp, prompts_of(video, frames), frames.size)

        return work

    run_shard(job, GENERATE_PROMPTS, split.videos(), ingredients, make_worker)


def _source_ingredients(job: Job, split: Split, video: Video) -> dict[str, Any]:
    if job.source == "gt":
        return {"annotations": annotations_digest(video, split.annotations(video))}
    return {"role": _role(job)} if job.source == "grid" else {"expressions": expressions_digest(video)}


def _load(job: Job, split: Split, device: str) -> PromptsOf:
    """Loads the models of the job's source."""
    settings = job.settings.prompts
    if job.source == "gt":
        from stages.prompting.ground_truth import GroundTruthPrompter

        return GroundTruthPrompter(split, settings.gt).prompts

    from stages.tracking.sam2_model import load_image_model

    sam2 = load_image_model(find_weights(job.config, job.dataset, "sam2"), device)
    if job.source == "grid":
        from stages.prompting.grid.prompter import GridPrompter

        return GridPrompter(sam2, settings.grid, _role(job)).prompts

    from stages.prompting.grounding_dino.detector import load_detector
    from stages.prompting.grounding_dino.prompter import GroundingDinoPrompter

    detector = load_detector(find_weights(job.config, job.dataset, "grounding_dino"), settings.gdino, device)
    return GroundingDinoPrompter(detector, sam2, settings.gdino).prompts


def _role(job: Job) -> Literal["train", "evaluate"]:
    """Whether the split trains or evaluates: it decides which frames get automatic masks."""
    return dataset_of(job.config, job.dataset).splits[job.split].role


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv, source=True)


if __name__ == "__main__":
    raise SystemExit(main())
