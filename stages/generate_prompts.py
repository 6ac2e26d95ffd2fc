"""Finds the objects to track: mask prompts on some frames of every video, from one source.

gt: one mask per annotation (no model). grid: SAM2's automatic masks. gdino: GroundingDINO's boxes for every
expression, turned into masks by SAM2. More can be added: stages/prompting/sources.py.

Reads the frame folders of extract_frames, annotations or captions, and the weights. Writes one prompt file
per video (stages/core/state/prompt_file.py). It is a stage of its own because trackers are tried out on the same
prompts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.records import Video
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import Worker, run_shard
from stages.core.state.cache import Stamp
from stages.core.state.frames import open_frames
from stages.core.state.graph import GENERATE_PROMPTS
from stages.core.state.prompt_file import write_prompts
from stages.core.state.weights import weights_ids
from stages.core.tables import SOURCES
from stages.datasets import open_split
from stages.prompting.ground_truth import require_truth


def run(job: Job) -> None:
    """Brings the prompt files of the job's shard and source to their finished state.

    Raises:
        ValueError: the source needs ground truth, and the split has none.
    """
    assert job.source is not None
    source = SOURCES[job.source]
    split = open_split(job.config, job.dataset, job.split)
    if source.needs_truth:
        require_truth(split, source.name)
    weights = weights_ids(job.config, job.dataset, GENERATE_PROMPTS, source.name)

    def ingredients(video: Video) -> Mapping[str, Any]:
        frames = open_frames(job.layout, video.id).digest
        return {"frames": frames, "weights": weights, **source.ingredients(job, split, video)}

    def make_worker(device: str) -> Worker:
        prompts_of = source.load(job, split, device)

        def work(video: Video, path: Path, stamp: Stamp) -> None:
            frames = open_frames(job.layout, video.id)
            write_prompts(path, stamp, prompts_of(video, frames), frames.size, job.history)

        return work

    run_shard(job, GENERATE_PROMPTS, split.videos(), ingredients, make_worker)


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv, source=True)


if __name__ == "__main__":
    raise SystemExit(main())
