"""Renders the answers: a mask PNG for every frame and expression, and an overlay video for people.

Reads:  decisions, the tracks they chose, and the frames of every video.
Writes: <cache>/<dataset>/<split>/render/<video>/: predictions/<expression>/<frame>.png (mode L, 0 or 255,
        native size), overlays/<expression>.mp4 where render.overlays is on; then render/<video>.json, which
        lists them.
Why:    the PNGs are what evaluation servers take, the overlays what a person judges.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.config.sections import Render
from stages.core.records import Expression, Rle, Video
from stages.core.run import progress
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import run_shard
from stages.core.state.cache import Stamp, digest, write_json
from stages.core.state.choices import predicted_masks, read_answers
from stages.core.state.fingerprints import upstream
from stages.core.state.folders import check_disjoint, replaced_folder
from stages.core.state.frames import FrameFolder, open_frames
from stages.core.state.graph import RENDER_PREDICTIONS, RERANK_TRACKS, Layout
from stages.datasets import open_split
from stages.exchange.png import mask_png

PREDICTIONS, OVERLAYS = "predictions", "overlays"

log = logging.getLogger(__name__)


def run(job: Job) -> None:
    videos = open_split(job.config, job.dataset, job.split).videos()
    check_disjoint((video.id for video in videos), RENDER_PREDICTIONS.suffix)
    run_shard(job, RENDER_PREDICTIONS, videos, partial(ingredients, job), lambda _: partial(render, job))


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


def ingredients(job: Job, video: Video) -> Mapping[str, Any]:
    """What a rendering depends on: the decisions, the pixels, the sentences as they are drawn."""
    drop_unfounded_record(job, video)
    return {
        "decisions": upstream(job.layout, RERANK_TRACKS, video.id),
        "frames": open_frames(job.layout, video.id).digest,
        "captions": digest([[expression.id, expression.raw] for expression in video.expressions]),
    }


def render(job: Job, video: Video, path: Path, stamp: Stamp) -> None:
    """Makes a video's folder, then the record at `path` that says it is whole."""
    frames, settings = open_frames(job.layout, video.id), job.settings.render
    made = {}
    with replaced_folder(folder_of(job.layout, video.id), record=path) as folder:
        for expression, rles_T in progress.steps(answers(job.layout, video, frames), len(video.expressions)):
            write_masks(folder / PREDICTIONS / expression.id, frames.names, rles_T)
            if settings.overlays:
                write_overlay(folder / OVERLAYS / f"{expression.id}.mp4", frames, rles_T, expression, settings)
            made[expression.id] = {
                "sentence": expression.raw,
                "predictions": f"{PREDICTIONS}/{expression.id}",
                "overlay": f"{OVERLAYS}/{expression.id}.mp4" if settings.overlays else None,
            }
    write_json(path, {"size": frames.size, "frames": frames.names, "expressions": made}, stamp)


def answers(layout: Layout, video: Video, frames: FrameFolder) -> Iterator[tuple[Expression, list[Rle]]]:
    """Every expression of a video with the masks that answer it, one a frame.

    Raises:
        CacheError: the decisions know nothing of an expression, or cannot be used.
    """
    decided = read_answers(layout.file(RERANK_TRACKS, video.id), video)
    for expression in video.expressions:
        yield expression, predicted_masks(layout, video.id, decided[expression.id] or (), frames.size, len(frames))


def write_masks(folder: Path, names: Sequence[str], rles_T: Sequence[Rle]) -> None:
    """One PNG a frame, mode L, 0 = background, 255 = referred object."""
    folder.mkdir(parents=True)
    for name, rle in zip(names, rles_T, strict=True):
        (folder / f"{name}.png").write_bytes(mask_png(rle["size"], rle["counts"]))


def write_overlay(
    path: Path, frames: FrameFolder, rles_T: Sequence[Rle], expression: Expression, settings: Render
) -> None:
    """The video with the answer tinted and outlined, and the sentence below; at the source's own times."""
    from stages.core.media.video_writer import times_at, write_h264

    path.parent.mkdir(parents=True, exist_ok=True)
    times = frames.timestamps or times_at(settings.fps, len(frames))
    write_h264(path, overlay_images(frames, rles_T, expression.raw, settings), times, crf=settings.crf)


def overlay_images(
    frames: FrameFolder, rles_T: Sequence[Rle], sentence: str, settings: Render
) -> Iterator[NDArray[np.uint8]]:
    """The drawn frames (h, w, 3), no side of the picture above `max_side`."""
    from stages.core.media.drawing import add_caption, draw_answer

    for index, rle in enumerate(progress.steps(rles_T)):
        yield add_caption(draw_answer(frames.load(index), rle, settings.max_side, settings.opacity), sentence)


def folder_of(layout: Layout, video: str) -> Path:
    """The folder of a video's PNGs and overlays, beside its record."""
    return layout.folder(RENDER_PREDICTIONS) / video


def drop_unfounded_record(job: Job, video: Video) -> None:
    """Removes a record whose folder has lost something, so that the video counts as not done."""
    record, folder = job.layout.file(RENDER_PREDICTIONS, video.id), folder_of(job.layout, video.id)
    if not record.exists():
        return
    n_frames = len(open_frames(job.layout, video.id))
    for expression in video.expressions:
        pngs = folder / PREDICTIONS / expression.id
        overlay = folder / OVERLAYS / f"{expression.id}.mp4"
        whole = pngs.is_dir() and len(list(pngs.iterdir())) == n_frames
        if not whole or (job.settings.render.overlays and not overlay.is_file()):
            log.warning("%s: lacks answers that %s lists; made again", folder, record)
            record.unlink()
            return


if __name__ == "__main__":
    raise SystemExit(main())
