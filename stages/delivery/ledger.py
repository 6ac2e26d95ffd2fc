"""Which outputs in a folder are Referee's: only those are ever replaced.

The ledger, a hidden JSON file in the folder, lists size and digest of every file, and what it was made of. It is written
before a file is moved into place, so that nothing a killed run left is taken for foreign by the next one.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.core.digests import file_sha256
from stages.core.state.cache import atomic_path
from stages.core.state.temporary import remove, remove_leftovers, temporary_beside

LEDGER = ".referee-outputs.json"

# Path below an output ("" for the output itself, a file) → bytes and sha256 in hex.
Files = Mapping[str, Any]


class Ledger:
    """The outputs of a folder, which need not exist yet.

    Raises:
        ValueError: its ledger is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER
        try:
            self._entries: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._entries = {}
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self._path}: damaged ({error}); move the outputs beside it away and delete it, or give another folder"
            ) from error

    def check(self, path: Path) -> None:
        """Returns if nothing is at `path`, or what Referee made there and nobody changed since.

        Raises:
            ValueError: anything else is there.
        """
        entry = self._entries.get(path.name, {})
        present = files_of(path)
        if present is not None and present not in (entry.get("files"), entry.get("before")):
            raise ValueError(
                f"{path}: would be replaced, and Referee did not make it, or it was changed since; move it away, or give "
                "another folder"
            )

    def is_current(self, path: Path, made_of: str) -> bool:
        """Whether what would be made of `made_of` is at `path`, whole."""
        entry = self._entries.get(path.name, {})
        return entry.get("made_of") == made_of and files_of(path) == entry["files"]

    def put(self, temporary: Path, path: Path, made_of: str) -> None:
        """Moves a finished file or folder into its place and lists it; raises ValueError as `check`."""
        self.check(path)
        files = files_of(temporary)
        self._list(path, {"made_of": "", "files": files, "before": files_of(path)})
        aside = path.with_name(f"{path.name}.old")
        remove_leftovers(aside)
        if path.is_dir():  # a folder cannot be replaced at once
            path.rename(temporary_beside(aside))
        temporary.replace(path)
        remove(temporary_beside(aside))
        self._list(path, {"made_of": made_of, "files": files})

    def _list(self, path: Path, entry: Mapping[str, Any]) -> None:
        self._entries[path.name] = entry
        with atomic_path(self._path) as temporary:
            text = json.dumps(self._entries, indent=1, sort_keys=True, ensure_ascii=False)
            temporary.write_text(f"{text}\n", encoding="utf-8")


def files_of(path: Path) -> Files | None:
    """What is at a place, as the ledger lists it; None where nothing is."""
    if path.is_symlink() or (path.exists() and not (path.is_file() or path.is_dir())):
        return {"": ["link, pipe or device"]}
    if not path.exists():
        return None
    return dict(sorted(_facts(path)))


def _facts(path: Path) -> Iterator[tuple[str, list[Any]]]:
    if path.is_file():
        sha256 = file_sha256(path)
        yield "", [path.stat().st_size, sha256]
        return
    for entry in sorted(path.iterdir()):
        for below, facts in (files_of(entry) or {}).items():
            yield f"{entry.name}/{below}".rstrip("/"), facts
