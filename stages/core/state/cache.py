"""Per-video cache files: one file a video, complete or absent, never mixed.

A file is written under a temporary name, fsynced and renamed: existing under its final name means
complete. Every file carries a `Stamp` that says what made it. Readers name the file, what is wrong
with it, and the mend.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # registers zstd with HDF5

ZSTD: Mapping[str, Any] = hdf5plugin.Zstd(clevel=3)


class CacheError(ValueError):
    """A cache file that cannot be used; the message names it and says how to mend it."""


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
        raw = json.loads(text)
        return cls(raw["stage"], raw["version"], raw["ingredients"])


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """16 hex digits of the sha256 over the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} → {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is fsynced and renamed to `path`.

    Raises:
        CacheError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(f"{path.parent}: cannot be created ({error.strerror}); check its rights or `paths`") from error
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except PermissionError as error:
        raise CacheError(f"{path}: not writable ({error.strerror}); check its rights or `paths`") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def create_h5(path: Path, stamp: Stamp, history: Mapping[str, Any] | None = None) -> Iterator[h5py.File]:
    """A new HDF5 cache file; equal content gives equal bytes (no time stamps).

    `history` is what the file was made with beside its stamp: what moves no result, such as batch sizes.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        file.attrs["stamp"] = stamp.dumps()
        if history is not None:
            file.attrs["history"] = canonical_json(history)
        yield file
        file.attrs["complete"] = True


@contextmanager
def open_h5(path: Path, stage: str, version: int) -> Iterator[h5py.File]:
    """Opens a finished HDF5 cache file of `stage` for reading.

    Raises:
        CacheError: it is missing, cut short, of another stage or of another layout version.
    """
    try:
        with h5py.File(path, "r") as file:
            if not file.attrs.get("complete", False):
                raise CacheError(f"{path}: was never finished; {mend(stage)}")
            check_version(path, Stamp.loads(file.attrs["stamp"]), stage, version)
            yield file
    except FileNotFoundError as error:
        raise CacheError(f"{path}: does not exist; {mend(stage)}") from error
    except (OSError, KeyError) as error:
        raise CacheError(f"{path}: damaged ({error}); {mend(stage)}") from error


def write_json(
    path: Path, payload: Mapping[str, Any], stamp: Stamp | None = None, history: Mapping[str, Any] | None = None
) -> None:
    """Writes `payload` atomically, with stamp and history (see `create_h5`) under these keys."""
    head = {} if stamp is None else {"stamp": json.loads(stamp.dumps())}
    document = {**head, **({} if history is None else {"history": history}), **payload}
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def read_json(path: Path, stage: str, version: int) -> dict[str, Any]:
    """Reads a finished JSON cache file of `stage`; raises CacheError as `open_h5` does."""
    document = _load_json(path, stage)
    check_version(path, _stamp_of(document, path, stage), stage, version)
    return document


def read_stamp(path: Path, stage: str) -> Stamp:
    """The stamp of a finished cache file; raises CacheError where there is none."""
    if path.suffix == ".json":
        return _stamp_of(_load_json(path, stage), path, stage)
    try:
        with h5py.File(path, "r") as file:
            if not file.attrs.get("complete", False):
                raise CacheError(f"{path}: was never finished; {mend(stage)}")
            return Stamp.loads(file.attrs["stamp"])
    except FileNotFoundError as error:
        raise CacheError(f"{path}: does not exist; {mend(stage)}") from error
    except (OSError, KeyError, ValueError) as error:
        raise CacheError(f"{path}: damaged ({error}); {mend(stage)}") from error


class State(Enum):
    MISSING = "missing"
    COMPLETE = "complete"
    STALE = "stale"  # made by other ingredients
    DAMAGED = "damaged"  # cut short or not ours


def inspect(path: Path, expected: Stamp) -> tuple[State, str]:
    """The state of a cache file against what would make it now, and the reason in words."""
    if not path.exists():
        return State.MISSING, "not made yet"
    try:
        found = read_stamp(path, expected.stage)
    except CacheError as error:
        return State.DAMAGED, str(error)
    if found.fingerprint == expected.fingerprint:
        return State.COMPLETE, "complete"
    return State.STALE, expected.difference(found)


def check_version(path: Path, found: Stamp, stage: str, version: int) -> None:
    if found.stage != stage:
        raise CacheError(f"{path}: was written by {found.stage}, not by {stage}; {mend(stage)}")
    if found.version != version:
        raise CacheError(f"{path}: has layout version {found.version}, this code reads {version}; {mend(stage)}")


def mend(stage: str) -> str:
    return f"run `python -m stages.{stage}` on its split again"


def _load_json(path: Path, stage: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CacheError(f"{path}: does not exist; {mend(stage)}") from error
    except (OSError, ValueError) as error:
        raise CacheError(f"{path}: damaged ({error}); {mend(stage)}") from error
    if not isinstance(document, dict):
        raise CacheError(f"{path}: damaged (not an object); {mend(stage)}")
    return document


def _stamp_of(document: Mapping[str, Any], path: Path, stage: str) -> Stamp:
    try:
        raw = document["stamp"]
        return Stamp(raw["stage"], raw["version"], raw["ingredients"])
    except (KeyError, TypeError) as error:
        raise CacheError(f"{path}: damaged (no stamp); {mend(stage)}") from error
