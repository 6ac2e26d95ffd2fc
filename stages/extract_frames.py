"""Puts the frames of every video into a folder of its own, checked, named and ordered.

Reads:  video files, or the frames a data set ships.
Writes: <cache>/<dataset>/<split>/frames/<video>/: JPEGs of a video file, links to shipped frames, PNGs of shipped frames
        that are not plain (16 bits, transparency, EXIF orientation, TIFF, …); then frames/<video>.json: names, size,
        timestamps, what was done to the pixels, and digests of the frames (stages.core.state.frames).
Why:    models and masks index frames by position; a missing, damaged or odd-sized one must show here,
        before hours of computing.
"""

import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import dropwhile, islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from stages.core.config.sections import Settings
from stages.core.notes import Notes
from stages.core.records import Video
from stages.core.run import progress
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import run_shard
from stages.core.state.cache import CacheError, Stamp, digest, write_json
from stages.core.state.folders import check_disjoint, replaced_folder
from stages.core.state.frames import open_frames
from stages.core.state.graph import EXTRACT_FRAMES, Layout
from stages.core.state.vouched import SHORT
from stages.datasets import open_split
from stages.datasets.frame_files import frame_files

if TYPE_CHECKING:
    from stages.core.media.pictures import PictureFacts
    from stages.core.media.video import TimedFrame

Span = tuple[float | None, float | None]  # seconds, as `Video.span`
WHOLE: Span = (None, None)
LINKED: Mapping[str, str] = {".jpg": ".jpg", ".jpeg": ".jpg", ".png": ".png"}  # what is linked as it is, and its name
MAX_FRAMES = 100_000  # five digits: names sort as the frames do

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """A frame in its folder: name without extension, (height, width), bytes of its file, and their sha256."""

    name: str
    size: tuple[int, int]
    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class Taken:
    """What was put into a video's folder: the frames, their suffix, and what the manifest says beside them."""

    frames: Sequence[Frame]
    suffix: str
    pixels: Sequence[str]
    timestamps: Sequence[float] | None = None
    start: float = 0.0
    end: float | None = None


def run(job: Job) -> None:
    split = open_split(job.config, job.dataset, job.split)
    videos = split.videos()
    check_disjoint(dict.fromkeys(job.layout.key(EXTRACT_FRAMES, video.id) for video in videos), EXTRACT_FRAMES.suffix)
    for line in Notes(split.left_out).lines():
        log.warning("%s/%s: the rest goes on without it: %s", job.dataset, job.split, line)
    ours = partial(ingredients, job.layout, as_shown=split.as_shown)
    run_shard(job, EXTRACT_FRAMES, videos, ours, lambda _: partial(extract, job, as_shown=split.as_shown))


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


def ingredients(layout: Layout, video: Video, *, as_shown: bool) -> Mapping[str, Any]:
    """The listing of what is read. Links also depend on where it is: a data set that moved is linked anew."""
    drop_unfounded_manifest(layout, video.id)
    if not video.frames:
        source = {"source": _listing([_video_file(video)])}
        return source if video.span == WHOLE else {**source, "span": list(video.span)}
    files = frame_files(video, as_shown=as_shown)
    return {"source": _listing(files), "location": str(video.location.resolve())}


def extract(job: Job, video: Video, path: Path, stamp: Stamp, *, as_shown: bool) -> None:
    """Makes a video's folder, then the manifest at `path` that says it is whole."""
    with replaced_folder(job.layout.frames(video.id), record=path) as folder:
        if video.frames:
            taken = take_frames(video, folder, job.settings.run.threads, as_shown=as_shown)
        else:
            taken = decode_frames(_video_file(video), folder, job.settings, video.span, as_shown=as_shown)
    frames = taken.frames
    manifest = {
        "frames": [frame.name for frame in frames],
        "suffix": taken.suffix,
        "size": list(frames[0].size),
        "timestamps": taken.timestamps,
        "start": taken.start,
        "end": taken.end,
        "pixels": list(taken.pixels),
        "files": [[frame.n_bytes, frame.sha256[:SHORT]] for frame in frames],
        "digest": digest([[frame.name, frame.sha256] for frame in frames]),
    }
    write_json(path, manifest, stamp)


def decode_frames(file: Path, folder: Path, settings: Settings, span: Span = WHOLE, *, as_shown: bool) -> Taken:
    """Writes the frames of a video file, or of a span of it, as 00000.jpg, 00001.jpg, …; times are from the first of them."""
    from stages.core.media.display import Account
    from stages.core.media.video import decode

    options, account = settings.frames, Account()
    images = decode(
        file,
        fps=options.fps,
        max_side=options.max_side,
        max_frames=options.max_frames if span == WHOLE else None,
        threads=settings.run.threads,
        as_shown=as_shown,
        account=account,
    )
    frames: list[Frame] = []
    times: list[float] = []
    for image_HW3, time in islice(_within(images, span), options.max_frames):
        if len(frames) == MAX_FRAMES:
            raise ValueError(f"{file}: more than {MAX_FRAMES} frames; set frames.fps or frames.max_frames, or cut it")
        encoded = io.BytesIO()
        Image.fromarray(image_HW3).save(encoded, "JPEG", quality=options.jpeg_quality)
        height, width = image_HW3.shape[:2]
        frames.append(_write(folder, f"{len(frames):05d}", ".jpg", encoded.getvalue(), (height, width)))
        times.append(round(time, 6))
    if not frames:
        raise ValueError(f"{file}: has no frame between {_seconds(span)}; it ends before, or give a longer stretch")
    end = account.end if span[1] is None else span[1]
    end = None if end is None or end <= times[-1] else round(end - times[0], 6)
    first, times = times[0], [round(time - times[0], 6) for time in times]
    return Taken(frames, ".jpg", account.pixels, times, round(account.start + first, 6), end)


def _within(images: "Iterable[TimedFrame]", span: Span) -> "Iterator[TimedFrame]":
    start, end = span
    from_start = dropwhile(lambda frame: start is not None and frame.time < start, images)
    return takewhile(lambda frame: end is None or frame.time < end, from_start)


def _seconds(span: Span) -> str:
    start, end = span
    return f"{0.0 if start is None else start:g} s and {'its end' if end is None else f'{end:g} s'}"


def take_frames(video: Video, folder: Path, threads: int, *, as_shown: bool) -> Taken:
    """Reads each shipped frame to its end, and links them into `folder`; if one is not plain, all become PNGs there.

    Raises:
        ValueError: a frame is missing or damaged, or differs in size from the first.
    """
    from stages.core.media.pictures import inspect_picture

    files = frame_files(video, as_shown=as_shown)
    with ThreadPoolExecutor(threads) as pool:
        inspected = pool.map(partial(inspect_picture, upright=as_shown), files)
        facts = list(progress.steps(inspected, len(files)))
    _check_sizes(files, facts)
    pixels = list(dict.fromkeys(step for fact in facts for step in fact.changes))
    suffixes = {LINKED.get(file.suffix.lower(), "") for file in files}
    if not pixels and len(suffixes) == 1 and "" not in suffixes:
        (suffix,) = suffixes
        for name, file in zip(video.frames, files, strict=True):
            (folder / f"{name}{suffix}").symlink_to(file.resolve())
        frames = [Frame(name, fact.size, fact.n_bytes, fact.sha256) for name, fact in zip(video.frames, facts)]
        return Taken(frames, suffix, ())
    with ThreadPoolExecutor(threads) as pool:
        write = partial(_write_png, folder, upright=as_shown)
        frames = list(progress.steps(pool.map(write, video.frames, files), len(files)))
    return Taken(frames, ".png", pixels or ["stored as PNG"])


def _check_sizes(files: Sequence[Path], facts: "Sequence[PictureFacts]") -> None:
    for file, fact in zip(files, facts, strict=True):
        if fact.size != facts[0].size:
            ours, first = (f"{width}x{height}" for height, width in (fact.size, facts[0].size))
            turned = " once all are upright (EXIF)" if any(f.changes for f in facts) else ""
            raise ValueError(
                f"{file}: is {ours}, but {files[0]} is {first}{turned}; the frames of a video have one size"
            )


def _write_png(folder: Path, name: str, file: Path, *, upright: bool) -> Frame:
    from stages.core.media.pictures import show_picture

    image_HW3, encoded = show_picture(file, upright=upright), io.BytesIO()
    Image.fromarray(image_HW3).save(encoded, "PNG", compress_level=1)
    return _write(folder, name, ".png", encoded.getvalue(), (image_HW3.shape[0], image_HW3.shape[1]))


def _write(folder: Path, name: str, suffix: str, content: bytes, size: tuple[int, int]) -> Frame:
    (folder / f"{name}{suffix}").write_bytes(content)
    return Frame(name, size, len(content), hashlib.sha256(content).hexdigest())


def drop_unfounded_manifest(layout: Layout, video: str) -> None:
    """Removes a manifest whose folder does not hold what it lists, so that the video counts as not done."""
    path = layout.file(EXTRACT_FRAMES, video)
    try:
        frames = open_frames(layout, video)
    except CacheError:
        return  # missing or damaged: not done in any case
    if damage := frames.damage(path):
        log.warning("%s: %s; made again", frames.directory, damage)
        path.unlink()


def _video_file(video: Video) -> Path:
    if not video.location.is_file():
        link = f"a link to {video.location.readlink()}, which" if video.location.is_symlink() else "the video file"
        missing = "is not there" if video.location.is_symlink() else "does not exist"
        raise ValueError(f"{video.location}: {link} {missing}; restore it or correct the index")
    return video.location


def _listing(files: Sequence[Path]) -> str:
    """Digest of names, sizes and times of change."""
    return digest([[file.name, *_size_and_time(file)] for file in files])


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except FileNotFoundError as error:  # it was listed a moment ago
        where = f"a link to {file.readlink()}, which is not there" if file.is_symlink() else "gone since it was listed"
        raise ValueError(f"{file}: {where}; restore it") from error
    return stat.st_size, stat.st_mtime_ns


if __name__ == "__main__":
    raise SystemExit(main())
