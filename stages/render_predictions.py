"""Renders the answers: a mask PNG for every frame and expression, and an overlay video for people.

Reads:  decisions, the tracks they chose, the frames of every video, and the sound of video files.
Writes: <cache>/<dataset>/<split>/render/<video>/: predictions/<expression>/<frame>.png (mode L, 0 or 255,
        native size), overlays/<expression>.mp4 where render.overlays is on; then render/<video>.json, which
        lists them with their digests, and says why each empty answer is empty (stages.core.state.renders).
Why:    the PNGs are what evaluation servers take, the overlays what a person judges.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.core.config.sections import Render
from stages.core.digests import digest
from stages.core.media import masks
from stages.core.records import Expression, Rle, TrackId, Video
from stages.core.run import progress
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import run_shard
from stages.core.state.cache import CacheError, Stamp, read_json, write_json
from stages.core.state.choices import Candidate, confidence, read_answers
from stages.core.state.fingerprints import upstream
from stages.core.state.folders import check_disjoint, replaced_folder
from stages.core.state.frames import FrameFolder, open_frames
from stages.core.state.graph import BUILD_TRACKS, RENDER_PREDICTIONS, RERANK_TRACKS, Layout
from stages.core.state.renders import OVERLAYS, PREDICTIONS, open_render, render_folder, summarise_empty
from stages.core.state.track_file import read_masks
from stages.core.state.vouched import vouch
from stages.datasets import open_split
from stages.exchange.png import mask_png

log = logging.getLogger(__name__)


class Chosen(NamedTuple):
    """A track that an expression means.

    Attributes:
        number: that the track has in all overlays of the video.
        score: 0 to 1.
        rles_T: one per frame.
    """

    number: int
    score: float
    rles_T: Sequence[Rle]


@dataclass(frozen=True)
class Answer:
    """The answer to one expression.

    Attributes:
        objects: every chosen track.
        union_T: their union, one RLE per frame.
        note: why nothing is marked; "" where something is.
    """

    expression: Expression
    objects: Sequence[Chosen]
    union_T: Sequence[Rle]
    note: str


def run(job: Job) -> None:
    videos = open_split(job.config, job.dataset, job.split).videos()
    check_disjoint((video.id for video in videos), RENDER_PREDICTIONS.suffix)
    rendered: list[Video] = []

    def work(video: Video, path: Path, stamp: Stamp) -> None:
        render(job, video, path, stamp)
        rendered.append(video)

    try:
        run_shard(job, RENDER_PREDICTIONS, videos, partial(ingredients, job), lambda _: work)
    finally:
        if words := summarise_empty(job.layout, rendered):
            log.warning("%s/%s: %s", job.dataset, job.split, words)


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


def ingredients(job: Job, video: Video) -> Mapping[str, Any]:
    """What a rendering depends on: the decisions, the pixels and their times, the sentences as they are drawn."""
    drop_unfounded_record(job.layout, video)
    frames = open_frames(job.layout, video.id)
    return {
        "decisions": upstream(job.layout, RERANK_TRACKS, video.id),
        "frames": frames.digest,
        "times": digest([frames.timestamps, frames.start, frames.end]),
        "captions": digest([[expression.id, expression.raw] for expression in video.expressions]),
    }


def render(job: Job, video: Video, path: Path, stamp: Stamp) -> None:
    """Makes a video's folder, then the record at `path` that says it is whole."""
    frames, settings = open_frames(job.layout, video.id), job.settings.render
    expressions: dict[str, Any] = {}
    files: dict[str, Any] = {}
    with replaced_folder(render_folder(job.layout, video.id), record=path) as folder:
        for answer in progress.steps(answers(job.layout, video, frames), len(video.expressions)):
            identifier = answer.expression.id
            files |= write_masks(folder, identifier, frames.names, answer.union_T)
            overlay = f"{OVERLAYS}/{identifier}.mp4" if settings.overlays else None
            if overlay:
                write_overlay(folder / overlay, video, frames, answer, settings)
                files[overlay] = vouch((folder / overlay).read_bytes())
            expressions[identifier] = {
                "sentence": answer.expression.raw,
                "predictions": f"{PREDICTIONS}/{identifier}",
                "overlay": overlay,
                "note": answer.note,
            }
    write_json(path, {"size": frames.size, "frames": frames.names, "expressions": expressions, "files": files}, stamp)


def answers(layout: Layout, video: Video, frames: FrameFolder) -> Iterator[Answer]:
    """The answer to every expression of a video.

    Raises:
        CacheError: the decisions know nothing of an expression, or cannot be used.
    """
    path = layout.file(RERANK_TRACKS, video.id)
    decided = read_answers(path, video)
    threshold = read_json(path, RERANK_TRACKS.name, RERANK_TRACKS.version).get("threshold")
    chosen = {e: {c.id: confidence([c]) for c in candidates or () if c.chosen} for e, candidates in decided.items()}
    numbers = {track: number for number, track in enumerate(sorted({t for tracks in chosen.values() for t in tracks}))}
    for expression in video.expressions:
        scores = chosen[expression.id]
        tracks = read_tracks(layout, video.id, list(scores))
        objects = [Chosen(numbers[track], scores[track], rles_T) for track, rles_T in tracks.items()]
        union_T = [masks.union([found.rles_T[t] for found in objects], frames.size) for t in range(len(frames))]
        note = "" if masks.area(union_T).any() else why_empty(decided[expression.id], threshold)
        yield Answer(expression, objects, union_T, note)


def read_tracks(layout: Layout, video: str, tracks: Sequence[TrackId]) -> dict[TrackId, Sequence[Rle]]:
    """The masks of tracks, one RLE per frame each, in the order asked for; a file is opened once."""
    rows: dict[str, list[int]] = {}
    for track in tracks:
        rows.setdefault(track.source, []).append(track.track)
    masks_of = {
        TrackId(source, row): rles_T
        for source, wanted in rows.items()
        for row, rles_T in zip(wanted, read_masks(layout.file(BUILD_TRACKS, video, source), wanted), strict=True)
    }
    return {track: masks_of[track] for track in tracks}


def why_empty(candidates: Sequence[Candidate] | None, threshold: float | None) -> str:
    """Why an expression's answer marks nothing, as a sentence for people."""
    from scipy.special import expit  # late: `--help` need not wait for scipy

    if candidates is None:
        return "No prediction was imported"
    if any(candidate.chosen for candidate in candidates):
        return "The chosen object is not visible in any frame"
    if not candidates:
        return "No object was chosen (nothing was tracked)"
    best = float(expit(max(c.score if c.final is None else c.final for c in candidates)))
    reason = "" if threshold is None else f" (best score {best:.2f} below {threshold:.2f})"
    return f"No object was chosen{reason}"


def write_masks(folder: Path, expression: str, names: Sequence[str], rles_T: Sequence[Rle]) -> dict[str, Any]:
    """One PNG per frame, mode L, 0 = background, 255 = referred object; returns what the record says of them."""
    below = f"{PREDICTIONS}/{expression}"
    (folder / below).mkdir(parents=True)
    files = {}
    for name, rle in zip(names, rles_T, strict=True):
        content = mask_png(rle["size"], rle["counts"])
        (folder / below / f"{name}.png").write_bytes(content)
        files[f"{below}/{name}.png"] = vouch(content)
    return files


def write_overlay(path: Path, video: Video, frames: FrameFolder, answer: Answer, settings: Render) -> None:
    """The video with the answer tinted and outlined, scores beside it, and the sentence below; at the source's own
    times, with its sound."""
    from stages.core.media.sound import open_sound
    from stages.core.media.video_writer import times_at, write_h264

    path.parent.mkdir(parents=True, exist_ok=True)
    times = frames.timestamps or times_at(settings.fps, len(frames))
    gap = next((b - a for a, b in pairwise(times[-2:])), 1 / settings.fps)
    end = frames.end or times[-1] + gap
    sound = None if video.frames else open_sound(video.location, frames.start, end)
    images = overlay_images(frames, answer, settings)
    write_h264(path, images, times, crf=settings.crf, end=end, sound=sound)


def overlay_images(frames: FrameFolder, answer: Answer, settings: Render) -> Iterator[NDArray[np.uint8]]:
    """The drawn frames (h, w, 3), no side of the picture longer than `max_side`."""
    from stages.core.media.captions import add_caption, add_note
    from stages.core.media.drawing import resize_mask, resize_picture, viewing_size
    from stages.core.media.overlays import Marked, draw_overlay

    size = viewing_size(frames.size, settings.max_side)
    figures = [f"{found.score:.2f}" if settings.captions else "" for found in answer.objects]
    for index in progress.steps(range(len(frames))):
        objects = [
            Marked(found.number, resize_mask(masks.decode(found.rles_T[index]), size), figure=figure)
            for found, figure in zip(answer.objects, figures, strict=True)
        ]
        image_HW3 = draw_overlay(resize_picture(frames.load(index), size), objects, settings.opacity, settings.font)
        if answer.note:
            image_HW3 = add_note(image_HW3, answer.note, settings.font)
        yield add_caption(image_HW3, answer.expression.raw, settings.font) if settings.captions else image_HW3


def drop_unfounded_record(layout: Layout, video: Video) -> None:
    """Removes a record whose folder does not hold what it lists, so that the video counts as not done."""
    try:
        rendered = open_render(layout, video.id)
    except CacheError:
        return  # missing or damaged: not done in any case
    if damage := rendered.damage():
        log.warning("%s: %s; made again", rendered.folder, damage)
        rendered.record.unlink()


if __name__ == "__main__":
    raise SystemExit(main())
