"""What a split is read from, as one digest that changes when one of its files does.

The workflow compares it with the last run's, so that frames, label files and videos replaced in place are noticed.
It costs a look at the entry of every file that the index names, and opens none but the index: names, sizes and times of
change are compared, not contents.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from stages.core.config.file import Config
from stages.core.config.loading import dataset_of
from stages.core.digests import digest
from stages.core.tables import FORMATS
from stages.datasets import open_split
from stages.datasets.folder_listing import FRAME_SUFFIXES

THREADS = 8  # of a network's file system most of the time is waiting
BATCH = 64
Facts = list[tuple[str, int, int]]


def split_listing(config: Config, dataset: str, split: str) -> str:
    """A digest of the split's index and of all files that its videos and their truth are read from.

    Where the split cannot be opened it covers the index files alone: the stage says why.
    """
    entry = dataset_of(config, dataset)
    root = Path(entry.root)
    patterns = [pattern.format(split=split) for pattern in FORMATS[entry.format].index_files]
    index = sorted({path for pattern in patterns for path in root.glob(pattern)})
    with _silent_readers():
        try:
            opened = open_split(config, dataset, split)
        except (ValueError, OSError):
            return digest([[str(path), _facts(path)] for path in index])
        videos = opened.videos()
        frames = [video.location for video in videos]
        truth = [path for video in videos for path in opened.sources(video)]
    # A digest per place: the facts of millions of frames would not fit into memory.
    with ThreadPoolExecutor(THREADS) as pool:
        digests = [pool.map(_frames_digests, _batches(frames)), pool.map(_digests, _batches([*index, *truth]))]
        return digest([[video.id for video in videos], *(list(chain.from_iterable(each)) for each in digests)])


def _batches(places: Sequence[Path]) -> list[Sequence[Path]]:
    """Places that a thread looks at in one go: handing over each alone costs a sixth of looking at it."""
    return [places[i : i + BATCH] for i in range(0, len(places), BATCH)]


def _frames_digests(places: Iterable[Path]) -> list[str]:
    return list(map(_frames_digest, places))


def _digests(places: Iterable[Path]) -> list[str]:
    return [digest(_facts(place)) for place in places]


def _frames_digest(path: Path) -> str:
    """A digest of the facts of a video file, or of the pictures in a folder of frames."""
    return digest([fact for fact in _facts(path) if fact[0].lower().endswith(FRAME_SUFFIXES) or fact[0] == path.name])


def _facts(path: Path) -> Facts:
    """Name, size and time of change of a file, or of the files in a folder; nothing where neither is there."""
    try:
        with _opened(path) as folder:
            if folder is None:
                status = path.stat()
                return [(path.name, status.st_size, status.st_mtime_ns)]
            # By its descriptor: the path of each file would be looked up from the root, which takes most of the time.
            with os.scandir(folder) as entries:
                return sorted(_facts_of(entry) for entry in entries if not entry.name.startswith("."))
    except OSError:
        return []


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """The descriptor of a folder; None where the path is not one."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except NotADirectoryError:
        folder = None
    try:
        yield folder
    finally:
        if folder is not None:
            os.close(folder)


def _facts_of(entry: "os.DirEntry[str]") -> tuple[str, int, int]:
    try:
        status = entry.stat()
    except OSError:  # a link to nothing
        return entry.name, -1, 0
    return entry.name, 0 if entry.is_dir() else status.st_size, status.st_mtime_ns


@contextmanager
def _silent_readers() -> Iterator[None]:
    """Mutes what readers warn of: the stages will say it."""
    readers = logging.getLogger("stages.datasets")
    before = readers.level
    readers.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        readers.setLevel(before)
