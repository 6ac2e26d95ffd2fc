"""Per-video folders of the cache: built under a temporary name, then renamed, vouched for by a record.

A folder cannot be written atomically, so a JSON record beside it (`<video>.json` beside `<video>/`) says
that it is whole. The record goes before the folder is touched and comes back last.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath


@contextmanager
def replaced_folder(folder: Path, record: Path) -> Iterator[Path]:
    """Yields an empty temporary folder that takes the place of `folder` when the block succeeds.

    What killed runs left of the same folder is removed first. Where the block raises, the old folder and
    its record stay as they were.

    Args:
        record: the file that vouches for the folder; removed before the swap, written by the caller after it.
    """
    remove_leftovers(folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        record.unlink(missing_ok=True)
        _remove(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed runs left half made of a folder or file: one process works on a video at a time."""
    if not folder.parent.is_dir():
        return
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.\d+\.tmp")
    for entry in folder.parent.iterdir():
        if pattern.fullmatch(entry.name):
            _remove(entry)


def check_disjoint(videos: Iterable[str], suffix: str) -> None:
    """Returns when no video's folder or record lies where another's does.

    Args:
        videos: ids; id "a" owns the folder a/ and the file a<suffix>, so "a/b" cannot stand beside it.

    Raises:
        ValueError: naming two videos that would overwrite each other.
    """
    owners: dict[str, str] = {}
    for video in videos:
        for path in (video, f"{video}{suffix}"):
            _claim(owners, path, video)
    for path, video in owners.items():
        for parent in PurePosixPath(path).parents:
            if str(parent) in owners:
                _refuse(video, owners[str(parent)])


def _claim(owners: dict[str, str], path: str, video: str) -> None:
    if path in owners:
        _refuse(video, owners[path])
    owners[path] = video


def _refuse(video: str, other: str) -> None:
    raise ValueError(
        f"videos {other!r} and {video!r} would overwrite each other in the cache; rename one in the data set's index"
    )


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
