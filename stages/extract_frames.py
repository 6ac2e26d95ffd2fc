"""Puts the frames of every video into a folder of its own, checked, named and ordered.

Reads:  video files, or the frames a data set ships.
Writes: <cache>/<dataset>/<split>/frames/<video>/: JPEGs of a video file, links to shipped frames; then
        frames/<video>.json: names, size, timestamps and a digest of the frames (stages.core.state.frames).
Why:    models and masks index frames by position; a missing, damaged or odd-sized one must show here,
        before hours of computing.
"""

import hashlib
import io
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from stages.core.config.sections import Settings
from stages.core.records import Video
from stages.core.run import progress
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import run_shard
from stages.core.state.cache import CacheError, Stamp, digest, write_json
from stages.core.state.folders import check_disjoint, replaced_folder
from stages.core.state.frames import open_frames
from stages.core.state.graph import EXTRACT_FRAMES, Layout
from stages.datasets import open_split

SUFFIXES: Mapping[str, str] = {".jpg": ".jpg", ".jpeg": ".jpg", ".png": ".png"}
MAX_FRAMES = 100_000  # five digits: names sort as the frames do

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameFact:
    """What is known of one frame in its folder: name without extension, (height, width), sha256 of its bytes."""

    name: str
    size: tuple[int, int]
    sha256: str


def run(job: Job) -> None:
    videos = open_split(job.config, job.dataset, job.split).videos()
    check_disjoint((video.id for video in videos), EXTRACT_FRAMES.suffix)
    run_shard(job, EXTRACT_FRAMES, videos, partial(ingredients, job.layout), lambda _: partial(extract, job))


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


def ingredients(layout: Layout, video: Video) -> Mapping[str, Any]:
    """The listing of what is read. Links also depend on where it lies: a data set that moved is linked anew."""
    drop_unfounded_manifest(layout, video.id)
    if not video.frames:
        return {"source": _listing([_video_file(video)])}
    return {"source": _listing(find_frames(video)), "location": str(video.location.resolve())}


def extract(job: Job, video: Video, path: Path, stamp: Stamp) -> None:
    """Makes a video's folder, then the manifest at `path` that says it is whole."""
    with replaced_folder(job.layout.frames(video.id), record=path) as folder:
        if video.frames:
            suffix, facts, times = *link_frames(video, folder, job.settings.run.threads), None
        else:
            facts, times = decode_frames(_video_file(video), folder, job.settings)
            suffix = ".jpg"
    manifest = {
        "frames": [fact.name for fact in facts],
        "suffix": suffix,
        "size": list(facts[0].size),
        "timestamps": times,
        "digest": digest([[fact.name, fact.sha256] for fact in facts]),
    }
    write_json(path, manifest, stamp)


def decode_frames(file: Path, folder: Path, settings: Settings) -> tuple[list[FrameFact], list[float]]:
    """Writes the frames of a video file as 00000.jpg, 00001.jpg, …; returns facts and times in seconds."""
    from stages.core.media.video import decode

    options = settings.frames
    frames = decode(
        file,
        fps=options.fps,
        max_side=options.max_side,
        max_frames=options.max_frames,
        threads=settings.run.threads,
    )
    facts: list[FrameFact] = []
    times: list[float] = []
    for image_HW3, time in frames:
        if len(facts) == MAX_FRAMES:
            raise ValueError(f"{file}: more than {MAX_FRAMES} frames; set frames.fps or frames.max_frames, or cut it")
        encoded = io.BytesIO()
        Image.fromarray(image_HW3).save(encoded, "JPEG", quality=options.jpeg_quality)
        name, content = f"{len(facts):05d}", encoded.getvalue()
        (folder / f"{name}.jpg").write_bytes(content)
        height, width = image_HW3.shape[:2]
        facts.append(FrameFact(name, (height, width), hashlib.sha256(content).hexdigest()))
        times.append(round(time, 6))
    return facts, times


def link_frames(video: Video, folder: Path, threads: int) -> tuple[str, list[FrameFact]]:
    """Links the shipped frames into `folder` and reads each to its end; returns their suffix and facts.

    Raises:
        ValueError: a frame is missing or damaged, differs in size from the first, or is of another kind.
    """
    files = find_frames(video)
    suffix = SUFFIXES[files[0].suffix.lower()]
    for file in files:
        if SUFFIXES[file.suffix.lower()] != suffix:
            raise ValueError(
                f"{file}: another kind of image than {files[0]}; the frames of a video are all .jpg or .png"
            )
    with ThreadPoolExecutor(threads) as pool:
        facts = list(progress.steps(pool.map(inspect_frame, video.frames, files), len(files)))
    for file, fact in zip(files, facts):
        if fact.size != facts[0].size:
            ours, first = (f"{width}x{height}" for height, width in (fact.size, facts[0].size))
            raise ValueError(f"{file}: is {ours}, but {files[0]} is {first}; the frames of a video have one size")
        (folder / f"{fact.name}{suffix}").symlink_to(file.resolve())
    return suffix, facts


def inspect_frame(name: str, file: Path) -> FrameFact:
    """Reads an image file to its end; raises ValueError where that fails."""
    try:
        content = file.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return FrameFact(name, (image.height, image.width), hashlib.sha256(content).hexdigest())
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file}: frame is not readable ({error}); replace it") from error


def find_frames(video: Video) -> list[Path]:
    """The file of every listed frame of a frame folder.

    Raises:
        ValueError: the folder or a frame is missing, or two files share a frame's name.
    """
    if not video.location.is_dir():
        raise ValueError(f"{video.location}: the folder of frames does not exist; restore it or mend the index")
    found: dict[str, list[Path]] = {}
    for entry in os.scandir(video.location):
        stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 (a Path for every frame of a data set is slow)
        if suffix.lower() in SUFFIXES:
            found.setdefault(stem, []).append(Path(entry.path))
    for name in video.frames:
        if len(found.get(name, [])) > 1:
            raise ValueError(
                f"{video.location}: frame {name!r} is there as {' and '.join(p.name for p in found[name])}; keep one"
            )
        if name not in found:
            raise ValueError(f"{video.location / name}: frame is missing (.jpg or .png); restore it or mend the index")
    return [found[name][0] for name in video.frames]


def drop_unfounded_manifest(layout: Layout, video: str) -> None:
    """Removes a manifest whose folder does not hold what it lists, so that the video counts as not done."""
    path = layout.file(EXTRACT_FRAMES, video)
    try:
        frames = open_frames(layout, video)
    except CacheError:
        return  # missing or damaged: not done in any case
    present = {entry.name for entry in os.scandir(frames.directory)} if frames.directory.is_dir() else set()
    if present != {f"{name}{frames.suffix}" for name in frames.names}:
        log.warning("%s: does not hold the frames that %s lists; made again", frames.directory, path)
        path.unlink()


def _video_file(video: Video) -> Path:
    if not video.location.is_file():
        raise ValueError(f"{video.location}: the video file does not exist; restore it or mend the index")
    return video.location


def _listing(files: Sequence[Path]) -> str:
    """Digest of names, sizes and times of change."""
    facts = ((file.name, file.stat()) for file in files)
    return digest([[name, stat.st_size, stat.st_mtime_ns] for name, stat in facts])


if __name__ == "__main__":
    raise SystemExit(main())
