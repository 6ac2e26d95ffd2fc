"""Damages to a finished file of the cache."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import h5py
import numpy as np

NOTES = "notes.txt"  # in a folder that is where a file belongs


def _flip(random: Random, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    _write(path, bytes(content))


def _cut(random: Random, path: Path) -> None:
    content = path.read_bytes()
    _write(path, content[: random.randrange(1, len(content))])


def _zero(random: Random, path: Path) -> None:
    content = path.read_bytes()
    at = random.randrange(len(content))
    _write(path, content[:at] + bytes(len(content[at : at + 512])) + content[at + 512 :])


def _other_version(random: Random, path: Path) -> None:
    """Written whole by another version of the code; of an image, by other code: other bytes."""
    if path.suffix == ".json":
        document = json.loads(path.read_text(encoding="utf-8"))
        document["stamp"]["version"] += 1
        path.write_text(json.dumps(document), encoding="utf-8")
    elif path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            stamp = json.loads(bytes(file.attrs["stamp"]))
            stamp["version"] += 1
            file.attrs["stamp"] = np.bytes_(json.dumps(stamp).encode())
    else:
        _flip(random, path)


def _folder(random: Random, path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / NOTES).write_text("somebody's", encoding="utf-8")


def _dangling_link(random: Random, path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "not-there")


def _garbage(random: Random, path: Path) -> None:
    _write(path, random.randbytes(random.randrange(1, 2000)))


def _write(path: Path, content: bytes) -> None:
    """As another file: hard links of the old one stay as they are."""
    path.unlink()
    path.write_bytes(content)


DAMAGES: Mapping[str, Callable[[Random, Path], None]] = {
    "a bit is flipped": _flip,
    "cut short": _cut,
    "empty": lambda random, path: _write(path, b""),
    "a block of zeros": _zero,
    "of another version": _other_version,
    "a folder in its place": _folder,
    "a link to nothing": _dangling_link,
    "garbage": _garbage,
}
