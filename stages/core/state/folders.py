"""Per-video folders of the cache: built under a temporary name, then renamed, vouched for by a record.

A folder cannot be written atomically, so a JSON record beside it (`<video>.json` beside `<video>/`) says
that it is whole. The record is removed before the folder is touched, and written last.
"""

import errno
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from stages.core.state.cache import unwritable
from stages.core.state.temporary import disk_full, remove, remove_leftovers, temporary_beside

SWAPS = 5  # attempts to take a folder's place


@contextmanager
def replaced_folder(folder: Path, record: Path) -> Iterator[Path]:
    """Yields an empty temporary folder that takes the place of `folder` when the block succeeds.

    What killed runs left behind for this folder is removed first. Where the block raises, the old folder and
    its record stay as they were.

    Args:
        record: the file that vouches for the folder; removed before the swap, written by the caller after it.

    Raises:
        CacheError: the place cannot be written to, or a folder is in that of the record.
        DiskFull: there is no room.
    """
    remove_leftovers(folder)
    temporary = temporary_beside(folder)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        record.unlink(missing_ok=True)
        _swap(temporary, folder)
    except OSError as error:
        if known := disk_full(error, folder) or unwritable(error, record):
            raise known from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary: Path, folder: Path) -> None:
    """Puts a folder in another's place; somebody who works on the same video may do so at the same moment."""
    for attempt in range(SWAPS):
        remove(folder)
        try:
            temporary.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == SWAPS - 1:
                raise


def check_disjoint(videos: Iterable[str], suffix: str) -> None:
    """Returns if no video's folder or record is stored where another's is.

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
