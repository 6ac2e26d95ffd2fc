"""What is looked at before anything is computed: the videos, and the place of the outputs."""

import os
from collections.abc import Sequence
from pathlib import Path

from stages.core.config.file import Config
from stages.core.config.places import check_output
from stages.core.records import Video
from stages.core.spelling import is_unicode, shown
from stages.datasets.folder_listing import list_frames
from stages.datasets.frame_files import frame_files
from stages.delivery.segmented import Source
from stages.delivery.source import open_source
from stages.own.request import Asked, Part


def sources_of(videos: Sequence[Asked], part: Part) -> tuple[dict[str, Source], list[str]]:
    """Id → source of the videos that can be read, and what is wrong with the others.

    Raises:
        ValueError: none can be read; says what is wrong with the first.
    """
    sources: dict[str, Source] = {}
    wrong = []
    for video in videos:
        try:
            sources[video.id] = opened(video, part)
        except (ValueError, OSError) as error:
            wrong.append(told(video, str(error)))
    if not sources:
        raise ValueError(wrong[0])
    return sources, wrong


def told(video: Asked, words: str) -> str:
    """Words about a video on one line, whatever its name holds."""
    return words.replace(str(video.path), shown(video.path))


def opened(video: Asked, part: Part) -> Source:
    """A video as its outputs need it; raises ValueError where it is none, or has nothing in the part."""
    if not is_unicode(str(video.path)):
        raise ValueError(f"{video.path}: its name is not in UTF-8; rename it")
    if not video.path.is_dir():
        source = open_source(video.path)
    else:
        names, defect = list_frames(video.path)
        if defect:
            raise ValueError(defect)
        if part.start is not None or part.end is not None:
            raise ValueError(f"{video.path}: pictures have no times, so --start and --end cannot be given for them")
        source = open_source(video.path, frame_files(Video(video.id, names, video.path, (), 0), as_shown=True))
    length = source.seconds(len(source))
    if part.start is not None and part.start >= length:
        raise ValueError(f"{video.path}: --start {part.start:g} is after its end, {length:.2f} s")
    return source


def check_out(config: Config, out: Path) -> None:
    """Raises ValueError where outputs cannot or must not be written there."""
    check_output(config, out)
    there = next(folder for folder in (out, *out.parents) if folder.exists())
    if not there.is_dir():
        raise ValueError(f"{there}: is a file, so {out} cannot be a folder of outputs; give another --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{there}: cannot be written to; give another --out")
