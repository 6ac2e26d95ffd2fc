"""Follows the prompts of one source through every video with SAM2: object tokens, masks, labels.

Which prompts are tracked is decided greedily (SOLA, arXiv 2412.01136): big ones first, and what a track
already covers is dropped. Every ground-truth prompt becomes a track.

Reads prompt files, frame folders, annotations where there are any, and SAM2's weights. Writes one track
file a video (stages/core/track_file.py): everything that later stages learn of the video's objects, so
that selectors train and choose without opening a frame.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.cache import Stamp
from stages.core.cli import Job, execute
from stages.core.fingerprints import annotations_digest, expressions_digest, upstream
from stages.core.frames import open_frames
from stages.core.graph import BUILD_TRACKS, GENERATE_PROMPTS
from stages.core.prompt_file import read_prompts
from stages.core.records import Rle, Split, Video
from stages.core.runner import Worker, run_shard
from stages.core.track_file import write_tracks
from stages.core.weights import find_weights, weights_ids
from stages.datasets import open_split
from stages.prompting.ground_truth import require_truth
from stages.tracking.assemble import assemble
from stages.tracking.greedy import select_tracks
from stages.tracking.tracker import Masklet, Tracker

# float16 keeps every digit of a bfloat16 token: 11 significant bits for 8, and tokens are far below its range.
TOKEN_DTYPES = {"float32": "float32", "bfloat16": "float16"}


def run(job: Job) -> None:
    """Brings the track files of the job's shard and source to their finished state."""
    split = open_split(job.config, job.dataset, job.split)
    if job.source == "gt":
        require_truth(split)
    weights = weights_ids(job.config, job.dataset, BUILD_TRACKS, job.source)

    def ingredients(video: Video) -> Mapping[str, Any]:
        return {
            "prompts": upstream(job.layout, GENERATE_PROMPTS, video.id, job.source),
            "frames": open_frames(job.layout, video.id).digest,
            "weights": weights,
            "expressions": expressions_digest(video),
            "annotations": annotations_digest(video, split.annotations(video)),
        }

    def make_worker(device: str) -> Worker:
        tracker = _load(job, device)

        def work(video: Video, path: Path, stamp: Stamp) -> None:
            build(job, split, video, tracker, path, stamp)

        return work

    run_shard(job, BUILD_TRACKS, split.videos(), ingredients, make_worker)


def build(job: Job, split: Split, video: Video, tracker: Tracker, path: Path, stamp: Stamp) -> None:
    """Makes the track file of one video; no prompt at all gives a valid file without tracks."""
    source, settings = job.source, job.settings.tracks
    assert source is not None
    frames = open_frames(job.layout, video.id)
    prompts = read_prompts(job.layout.file(GENERATE_PROMPTS, video.id, source))

    def propagate(frame: int, masks: Sequence[Rle]) -> list[Masklet]:
        return tracker.propagate(frames, frame, masks)

    chains = select_tracks(prompts, source, len(video.expressions), settings, propagate)
    tracks, rles_NT = assemble(
        chains,
        prompts,
        frames,
        source,
        len(video.expressions),
        annotations=split.annotations(video) if split.has_truth else None,
        label_size=settings.label_size,
        token_dtype=TOKEN_DTYPES[settings.precision],
    )
    write_tracks(path, stamp, tracks, rles_NT)


def _load(job: Job, device: str) -> Tracker:
    """The engine of `tracks.engine`."""
    from stages.tracking.stock import StockTracker

    weights = find_weights(job.config, job.dataset, "sam2")
    return StockTracker.load(weights, device, job.settings.tracks.precision)


def main(argv: Sequence[str] | None = None) -> int:
    return execute(run, __doc__, argv, source=True)


if __name__ == "__main__":
    raise SystemExit(main())
