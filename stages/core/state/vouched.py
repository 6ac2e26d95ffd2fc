"""Files that a record beside their folder vouches for, by size and digest: frames, rendered masks, overlays."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

SHORT = 16  # hex digits of the sha256 that records keep


class Vouched(NamedTuple):
    """What a record says of a file: its bytes, and the start of their sha256 in hex."""

    n_bytes: int
    sha256: str


def vouch(content: bytes) -> Vouched:
    return Vouched(len(content), hashlib.sha256(content).hexdigest()[:SHORT])


def find_damage(folder: Path, files: Mapping[str, Vouched], record: Path, *, thorough: bool = False) -> str:
    """What is wrong with a folder, in words; "" where it holds what its record lists and nothing else.

    Every file's size is checked. Bytes are read only where a file is not older than the record: it may have changed.

    Args:
        files: path below the folder, with "/" → what the record says of it.
        thorough: read the bytes of all files.
    """
    present = dict(_entries(folder))
    if missing := files.keys() - present.keys():
        return f"lacks {_some(missing)}"
    if foreign := present.keys() - files.keys():
        return f"holds {_some(foreign)}, which {record.name} does not list"
    written = record.stat().st_mtime_ns
    for name, vouched in files.items():
        entry = present[name]
        try:
            whole = entry.is_file() and entry.stat().st_size == vouched.n_bytes
            if whole and (thorough or entry.stat(follow_symlinks=False).st_mtime_ns >= written):
                whole = vouch(Path(entry.path).read_bytes()) == vouched
        except OSError:
            whole = False
        if not whole:
            return f"{name} is not what was written there"
    return ""


def _entries(folder: Path, below: str = "") -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), f"{below}{entry.name}/")
            else:
                yield f"{below}{entry.name}", entry


def _some(names: set[str]) -> str:
    return min(names) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
