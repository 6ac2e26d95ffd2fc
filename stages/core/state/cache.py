"""Per-video cache files: one file per video, complete or absent, never mixed.

A file is written under a temporary name, fsynced and renamed: existing under its final name means
complete. Every file carries a `Stamp` that says what made it. Readers name the file, what is wrong
with it, and the fix.
"""

import errno
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # registers zstd with HDF5
import numpy as np

from stages.core.digests import canonical_json, digest, flatten
from stages.core.state.temporary import disk_full, temporary_beside

ZSTD: Mapping[str, Any] = hdf5plugin.Zstd(clevel=3)
CONTENT = "content_digest"  # key of a JSON file: of everything else in it


class CacheError(ValueError):
    """A cache file that cannot be used; the message names it and says how to fix it."""


@dataclass(frozen=True)
class Stamp:
    """What made a cache file.

    Attributes:
        stage: the stage that wrote it.
        version: the schema version of its layout (`stages.core.state.graph`).
        ingredients: everything the content depends on, as JSON values by name: config sections,
            weights ids, fingerprints of upstream files.
    """

    stage: str
    version: int
    ingredients: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """16 hex digits over stage, version and ingredients."""
        return digest([self.stage, self.version, self.ingredients])

    def difference(self, other: "Stamp") -> str:
        """The names of what differs, for the log line that explains a recomputation."""
        if self.stage != other.stage:
            return f"stage {other.stage} → {self.stage}"
        changed = [] if self.version == other.version else [f"layout version {other.version} → {self.version}"]
        mine, theirs = flatten(self.ingredients), flatten(other.ingredients)
        for name in sorted(mine.keys() | theirs.keys()):
            if mine.get(name) != theirs.get(name):
                changed.append(f"{name}: {theirs.get(name)} → {mine.get(name)}")
        return "; ".join(changed) or "nothing"

    def dumps(self) -> str:
        return canonical_json({"stage": self.stage, "version": self.version, "ingredients": self.ingredients})

    @classmethod
    def loads(cls, text: str) -> "Stamp":
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, raw: Any) -> "Stamp":
        """From its JSON value; raises KeyError or TypeError where that is not a stamp."""
        stage, version, ingredients = raw["stage"], raw["version"], raw["ingredients"]
        if not (isinstance(stage, str) and type(version) is int and isinstance(ingredients, dict)):
            raise TypeError("a stamp has a stage, a version and ingredients")
        return cls(stage, version, ingredients)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is fsynced and renamed to `path`.

    Raises:
        CacheError: the folder cannot be written, or a folder is in the place of the file.
        DiskFull: there is no room.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if full := disk_full(error, path):
            raise full from error
        raise CacheError(f"{path.parent}: cannot be created ({error.strerror}); check its rights or `paths`") from error
    temporary = temporary_beside(path)
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        if known := disk_full(error, path) or unwritable(error, path):
            raise known from error
        raise
    finally:
        with suppress(OSError):  # what cannot be written to refuses that as well, also where there is no such file
            temporary.unlink(missing_ok=True)


def unwritable(error: BaseException, path: Path) -> CacheError | None:
    """CacheError where `error` says that no file can be at `path`: rights, or a folder in the way; else None.

    Errors of other places, such as a file that is read meanwhile, are not meant.
    """
    if not isinstance(error, OSError) or not str(error.filename or path).startswith(str(path.parent)):
        return None
    if error.errno == errno.EISDIR:
        return CacheError(f"{path}: a folder is in the place of a file; clear it: `rm -r {shlex.quote(str(path))}`")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CacheError(f"{path}: not writable ({error.strerror}); check its rights or `paths`")
    return None


@contextmanager
def create_h5(path: Path, stamp: Stamp, history: Mapping[str, Any] | None = None) -> Iterator[h5py.File]:
    """A new HDF5 cache file; equal content gives equal bytes (no time stamps).

    Its format keeps checksums of all that is not a dataset; `stages.core.state.h5_arrays` adds those of datasets, and
    text is stored as bytes, since HDF5's own strings are covered by neither. The file is built in memory: on a
    full disk the library prints an error, goes on, and reads zeros back.

    Args:
        history: what the file was made with beside its stamp: what changes no result, such as batch sizes.
    """
    in_memory = {"driver": "core", "backing_store": False, "block_size": 1 << 20}
    with atomic_path(path) as temporary:
        with h5py.File(temporary.name, "w", libver=("v110", "v110"), **in_memory) as file:
            file.attrs["stamp"] = np.bytes_(stamp.dumps().encode())
            if history is not None:
                file.attrs["history"] = np.bytes_(canonical_json(history).encode())
            yield file
            file.attrs["complete"] = True
            file.flush()
            image = file.id.get_file_image()
        temporary.write_bytes(image)


@contextmanager
def open_h5(path: Path, stage: str, version: int) -> Iterator[h5py.File]:
    """Opens a finished HDF5 cache file of `stage` for reading.

    Raises:
        CacheError: it is missing, cut short, of another stage or of another layout version; or, while it is read, its
            content is not what was written.
        OSError: it cannot be read at this moment, whatever it holds.
    """
    with _reading(path, stage), h5py.File(path, "r", locking=False) as file:
        check_version(path, _h5_stamp(file, path, stage), stage, version)
        yield file


def write_json(
    path: Path, payload: Mapping[str, Any], stamp: Stamp | None = None, history: Mapping[str, Any] | None = None
) -> None:
    """Writes `payload` atomically. With a stamp also: the stamp, history (see `create_h5`), and a digest of it all."""
    document = dict(payload)
    if stamp is not None:
        document = {"stamp": json.loads(stamp.dumps()), **({} if history is None else {"history": history}), **payload}
        document = {CONTENT: digest(json.loads(canonical_json(document))), **document}
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def read_json(path: Path, stage: str, version: int) -> dict[str, Any]:
    """Reads a finished JSON cache file of `stage`; raises as `open_h5` does."""
    document = _load_json(path, stage)
    check_version(path, _stamp_of(document, path, stage), stage, version)
    _check_digest(document, path, stage)
    return document


def read_stamp(path: Path, stage: str) -> Stamp:
    """The stamp of a finished cache file; raises as `open_h5` does. Of HDF5 nothing else is read."""
    if path.suffix == ".json":
        document = _load_json(path, stage)
        stamp = _stamp_of(document, path, stage)
        if CONTENT in document:  # older layouts have none: their stamp says so
            _check_digest(document, path, stage)
        return stamp
    with _reading(path, stage), h5py.File(path, "r", locking=False) as file:
        return _h5_stamp(file, path, stage)


def verify(path: Path, stage: str) -> None:
    """Reads all content of a finished cache file against its checksums; raises as `open_h5` does."""
    if path.suffix == ".json":
        _check_digest(_load_json(path, stage), path, stage)
        return

    def read(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            item[()]

    with _reading(path, stage), h5py.File(path, "r", locking=False) as file:
        file.visititems(read)


@contextmanager
def _reading(path: Path, stage: str) -> Iterator[None]:
    """Tells what is damaged from what cannot be read now: only the former is made again."""
    if path.exists() and not path.is_file():
        raise CacheError(f"{path}: damaged (not a file); {remedy(stage)}")  # reading a pipe would wait for ever
    try:
        yield
    except CacheError:
        raise
    except FileNotFoundError as error:
        raise CacheError(f"{path}: does not exist; {remedy(stage)}") from error
    except OSError as error:
        if error.errno:  # locks, rights, an unreachable server: this says nothing about the content
            reason = error.strerror or os.strerror(error.errno)
            raise OSError(
                error.errno, f"{path}: cannot be read at this moment ({reason}); it is left as it is"
            ) from error
        raise CacheError(f"{path}: damaged ({error}); {remedy(stage)}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, RecursionError) as error:
        raise CacheError(f"{path}: damaged ({type(error).__name__}: {error}); {remedy(stage)}") from error


def _h5_stamp(file: h5py.File, path: Path, stage: str) -> Stamp:
    if not file.attrs.get("complete", False):
        raise CacheError(f"{path}: was never finished; {remedy(stage)}")
    text = file.attrs["stamp"]
    return Stamp.loads(text.decode() if isinstance(text, bytes) else text)


class State(Enum):
    MISSING = "missing"
    COMPLETE = "complete"
    STALE = "stale"  # made by other ingredients
    DAMAGED = "damaged"  # cut short or not ours


def inspect(path: Path, expected: Stamp) -> tuple[State, str]:
    """The state of a cache file against what would make it now, and the reason in words.

    The content of a file that looks complete is read against its checksums.

    Raises:
        OSError: the file cannot be read at this moment.
    """
    if not path.exists() and not path.is_symlink():
        return State.MISSING, "not made yet"
    try:
        stamp = read_stamp(path, expected.stage)
        if stamp.fingerprint != expected.fingerprint:
            return State.STALE, expected.difference(stamp)
        verify(path, expected.stage)
    except CacheError as error:
        return State.DAMAGED, str(error)
    return State.COMPLETE, "complete"


def check_version(path: Path, stamp: Stamp, stage: str, version: int) -> None:
    if stamp.stage != stage:
        raise CacheError(f"{path}: was written by {stamp.stage}, not by {stage}; {remedy(stage)}")
    if stamp.version != version:
        raise CacheError(f"{path}: has layout version {stamp.version}, this code reads {version}; {remedy(stage)}")


def remedy(stage: str) -> str:
    """The end of an error message: the command that makes the file again."""
    return f"run `python -m stages.{stage}` on its split again"


def _load_json(path: Path, stage: str) -> dict[str, Any]:
    with _reading(path, stage):
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise CacheError(f"{path}: damaged (not an object); {remedy(stage)}")
        return document


def _stamp_of(document: Mapping[str, Any], path: Path, stage: str) -> Stamp:
    try:
        raw = document["stamp"]
        return Stamp.of(raw)
    except (KeyError, TypeError) as error:
        raise CacheError(f"{path}: damaged (no stamp); {remedy(stage)}") from error


def _check_digest(document: Mapping[str, Any], path: Path, stage: str) -> None:
    content = {key: value for key, value in document.items() if key != CONTENT}
    if document.get(CONTENT) != digest(content):
        raise CacheError(f"{path}: damaged (its content is not what was written); {remedy(stage)}")
