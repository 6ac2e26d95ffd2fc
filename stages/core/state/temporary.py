"""Temporary files and folders beside the ones they become: whose they are, and which of them killed runs left."""

import errno
import os
import platform
import re
import shutil
import time
from pathlib import Path

OLD_SECONDS = 2 * 24 * 3600.0  # after which what another machine left is considered abandoned
HOST = re.sub(r"[^A-Za-z0-9-]", "-", platform.node()) or "host"


class DiskFull(OSError):
    """There is no room for a file: every further one would fail too, so a shard stops."""


def temporary_beside(path: Path) -> Path:
    """Where this process makes what becomes `path`: no two processes share it, even on different machines."""
    return path.with_name(f".{path.name}.{HOST}.{os.getpid()}.tmp")


def remove_leftovers(path: Path) -> None:
    """Removes the unfinished files and folders that killed runs left for `path`; those of living processes stay."""
    if not path.parent.is_dir():
        return
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(?:([A-Za-z0-9-]+)\.)?(\d+)\.tmp")
    for entry in path.parent.iterdir():
        if (match := pattern.fullmatch(entry.name)) and not _is_alive(entry, match[1], int(match[2])):
            remove(entry)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder of the cache."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.exists():
        shutil.rmtree(path, ignore_errors=True)


def disk_full(error: BaseException, path: Path) -> DiskFull | None:
    """DiskFull where `error` comes from a full disk or quota, else None; h5py wraps the number into its text."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause)
        if getattr(cause, "errno", None) in numbers or any(f"errno = {number}" in text for number in numbers):
            return DiskFull(errno.ENOSPC, f"no space left on {_mount(path)} for {path}; free some and run this again")
        cause = cause.__cause__ or cause.__context__
    return None


def _mount(path: Path) -> Path:
    """The mount point that a path is on."""
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    folder = folder.resolve()
    while not folder.is_mount():
        folder = folder.parent
    return folder


def _is_alive(entry: Path, host: str | None, pid: int) -> bool:
    if host is not None and host != HOST:
        try:
            return time.time() - entry.stat().st_mtime < OLD_SECONDS
        except OSError:
            return True  # gone by itself
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
