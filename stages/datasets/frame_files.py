"""The files of a video's frames in the folder that a data set ships."""

import os
from pathlib import Path

from stages.core.records import Video
from stages.core.spelling import nfc
from stages.datasets.folder_listing import FRAME_SUFFIXES

SHIPPED = (".jpg", ".jpeg", ".png")  # what data sets ship; a folder of one's own may hold more kinds


def frame_files(video: Video, *, as_shown: bool) -> list[Path]:
    """The file of every listed frame of a frame folder.

    Args:
        as_shown: it is a folder of one's own, which may hold any kind of FRAME_SUFFIXES.

    Raises:
        ValueError: the folder or a frame is missing, or two files share a frame's name.
    """
    if not video.location.is_dir():
        raise ValueError(f"{video.location}: the folder of frames does not exist; restore it or correct the index")
    suffixes = FRAME_SUFFIXES if as_shown else SHIPPED
    files: dict[str, list[Path]] = {}
    for entry in os.scandir(video.location):
        stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 (a Path for every frame of a data set is slow)
        if suffix.lower() in suffixes:
            files.setdefault(nfc(stem), []).append(Path(entry.path))
    for name in video.frames:
        if len(files.get(nfc(name), [])) > 1:
            several = " and ".join(sorted(path.name for path in files[nfc(name)]))
            raise ValueError(f"{video.location}: frame {name!r} is there as {several}; keep one")
    missing = [name for name in video.frames if nfc(name) not in files]
    if missing:
        others = f" and {len(missing) - 1} others" if missing[1:] else ""
        kinds = " ".join(suffixes)
        raise ValueError(
            f"{video.location / missing[0]}{others}: frame is missing ({kinds}); restore it or correct the index"
        )
    return [files[nfc(name)][0] for name in video.frames]
