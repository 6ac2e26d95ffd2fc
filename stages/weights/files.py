"""Files of a model: which of a folder belong to it, their sizes and digests, and an exclusive lock."""

import fcntl
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypedDict

from stages.core.run.progress import Progress

log = logging.getLogger(__name__)
RECORD = "record.json"
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
REFUSED = ".refused"
CHUNK = 1 << 22


class FetchError(ValueError):
    """Weights that could not be brought into place: which, why, and the fix."""


class FileFacts(TypedDict):
    """Size in bytes and sha256 in hexadecimal digits."""

    size: int
    sha256: str


# File name relative to the model's folder → its facts.
Files = Mapping[str, FileFacts]


def facts_of(file: Path) -> FileFacts:
    """Reads a file once, and shows its progress where that takes a while."""
    sha, size = hashlib.sha256(), file.stat().st_size
    with file.open("rb") as handle, Progress(f"verifying {file.name}", size) as progress:
        while chunk := handle.read(CHUNK):
            sha.update(chunk)
            progress.more(len(chunk))
    return {"size": size, "sha256": sha.hexdigest()}


def facts_in(folder: Path, names: Iterable[str]) -> dict[str, FileFacts]:
    return {name: facts_of(folder / name) for name in sorted(names)}


def files_in(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Names, relative to `folder`, of its files that match a pattern; hidden ones and ours are left out."""
    if not folder.is_dir():
        return []
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    visible = [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]
    ours = [name for name in visible if name == RECORD or name.endswith(REFUSED)]
    return matching((name for name in visible if name not in ours), patterns)


def matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Names that match one of the patterns, sorted ("*" crosses folders, as on the hub)."""
    return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def set_aside(file: Path) -> Path:
    """Renames a file with wrong bytes so that nothing takes it for a good one."""
    return file.replace(file.with_name(file.name + REFUSED))


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Holds an advisory lock that the kernel drops when the process ends, however it ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another job is fetching weights (%s); waiting for it", file)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
