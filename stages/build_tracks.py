"""Follows the prompts of one source through every video with SAM2: object tokens, masks, labels.

Which prompts are tracked is decided greedily (SOLA, arXiv 2412.01136): big ones first, and what a track
already covers is dropped. Every ground-truth prompt becomes a track. `tracks.engine` follows them: lockstep
advances all tracks of a video together, stock is the reference (docs/tracking.md).

Reads prompt files, frame folders, annotations where there are any, and SAM2's weights. Writes one track
file per video (stages/core/state/track_file.py): everything that later stages learn of the video's objects, so
that selectors train and choose without opening a frame. The seconds it took go to the log and to
`runtime/`, which nothing reads: the track file has the same bytes each time.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.records import Split, Video
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import Finish, Worker, run_shard
from stages.core.state.cache import CacheError, Stamp, remedy, write_json
from stages.core.state.fingerprints import annotations_digest, expressions_digest, upstream
from stages.core.state.frames import open_frames
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS
from stages.core.state.prompt_file import read_prompts
from stages.core.state.track_file import MOST_FRAMES, History, write_tracks
from stages.core.state.weights import find_weights, weights_ids
from stages.core.tables import SOURCES
from stages.datasets import open_split
from stages.prompting.ground_truth import require_truth
from stages.tracking.assemble import assemble, merged_prompts
from stages.tracking.given import given_tracks
from stages.tracking.greedy import select_tracks
from stages.tracking.tracker import Masklet, PromptBatch, Runtime, Tracker

log = logging.getLogger(__name__)

# float16 keeps every digit of a bfloat16 token: 11 significant bits for 8, and tokens are far below its range.
TOKEN_DTYPES = {"float32": "float32", "bfloat16": "float16"}


def run(job: Job) -> None:
    """Brings the track files of the job's shard and source to their finished state."""
    assert job.source is not None
    split = open_split(job.config, job.dataset, job.split)
    if SOURCES[job.source].needs_truth:
        require_truth(split, job.source)
    weights = weights_ids(job.config, job.dataset, BUILD_TRACKS, job.source)

    def ingredients(video: Video) -> Mapping[str, Any]:
        shared = job.layout.key(BUILD_TRACKS, video.id, job.source) != video.id  # by the sentences of a video, one each
        return {
            "prompts": upstream(job.layout, GENERATE_PROMPTS, video.id, job.source),
            "frames": open_frames(job.layout, video.id).digest,
            "weights": weights,
            "expressions": None if shared else expressions_digest(video),
            "annotations": annotations_digest(video, split.annotations(video)),
        }

    def make_worker(device: str) -> Worker:
        tracker = _load(job, device)

        def work(video: Video, path: Path, stamp: Stamp) -> Finish:
            return build(job, split, video, tracker, path, stamp)

        return work

    run_shard(job, BUILD_TRACKS, split.videos(), ingredients, make_worker)


def build(job: Job, split: Split, video: Video, tracker: Tracker, path: Path, stamp: Stamp) -> Finish:
    """Tracks one video, and gives back what makes its file: labels and writing, while the next one is tracked.

    No prompt at all gives a valid file without tracks.

    Raises:
        ValueError: the video is longer than a track file can say.
    """
    source, settings = job.source, job.settings.tracks
    assert source is not None
    frames = open_frames(job.layout, video.id)
    if len(frames) > MOST_FRAMES:
        raise ValueError(
            f"video {video.id!r} has {len(frames)} frames, a track file at most {MOST_FRAMES}: set frames.fps or "
            "frames.max_frames, or cut the video"
        )
    made_from = job.layout.file(GENERATE_PROMPTS, video.id, source)
    prompts = read_prompts(made_from)
    if beyond := [prompt.frame for prompt in prompts if not 0 <= prompt.frame < len(frames)]:
        raise CacheError(
            f"{made_from}: prompts in frame {beyond[0]}, the video has {len(frames)}; {remedy(GENERATE_PROMPTS.name)}"
        )
    runtime = Runtime()

    def track(batches: Sequence[PromptBatch]) -> list[list[Masklet]]:
        nonlocal runtime
        masklets, runtime = tracker.track(frames, batches), tracker.runtime
        return masklets

    if SOURCES[source].whole(job.settings.prompts[source]):
        chains = given_tracks(prompts, len(video.expressions), settings.max_tracks[source], len(frames), frames.size)
    else:
        chains = select_tracks(prompts, source, len(video.expressions), settings, track)

    def finish() -> None:
        with runtime.phase("assemble"):
            tracks, rles_NT = assemble(
                chains,
                prompts,
                frames,
                len(video.expressions),
                annotations=split.annotations(video) if split.has_truth else None,
                label_size=settings.label_size,
                token_dtype=TOKEN_DTYPES[settings.precision],
            )
        with runtime.phase("write"):
            write_tracks(path, stamp, tracks, rles_NT, History(runtime.counts, merged_prompts(chains)))
        _report(job, video, len(tracks), len(frames), runtime)

    return finish


def _report(job: Job, video: Video, n_tracks: int, n_frames: int, runtime: Runtime) -> None:
    """What a video took, to the log and to a file beside the state."""
    total = sum(runtime.seconds.values())
    work = runtime.counts["object_frames"]
    log.info(
        "%s: %d tracks of %d frames, %d object-frames at %.1f/s, %d frames encoded, %d rounds",
        video.id, n_tracks, n_frames, work, work / max(total, 1e-9), runtime.counts["encodes"], runtime.counts["rounds"],
    )  # fmt: skip
    seconds = {name: round(value, 3) for name, value in sorted(runtime.seconds.items())}
    path = job.layout.runtime(BUILD_TRACKS, video.id, job.source)
    write_json(path, {"video": video.id, "tracks": n_tracks, "frames": n_frames, **runtime.counts, "seconds": seconds})


def _load(job: Job, device: str) -> Tracker:
    """The engine of `tracks.engine`."""
    settings, weights = job.settings.tracks, find_weights(job.config, job.dataset, "sam2")
    if settings.engine == "stock":
        from stages.tracking.stock import StockTracker

        return StockTracker.load(weights, device, settings.precision)
    from stages.tracking.lockstep import LockstepTracker

    return LockstepTracker.load(weights, device, settings, job.settings.run)


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv, source=True)


if __name__ == "__main__":
    raise SystemExit(main())
