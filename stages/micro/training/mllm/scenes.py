"""The scenes that steps draw from, stored as files.

A scene depends on the seed and its index alone, so it does not matter which process makes it, and when.
"""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.micro.training.mllm.records import Record

KEPT = 400  # records in memory


class Scenes:
    """Records by index.

    Args:
        folder: their files; made if missing. Files that are there are used.
        make: (index) → record.
        total: number of records, which come over and over; None = endless.
        kind: of the records: they have `save` and `load`.
    """

    def __init__(
        self, folder: Path, make: Callable[[int], Any], total: int | None = None, kind: type[Any] = Record
    ) -> None:
        self.folder, self.make, self.total, self.kind = folder, make, total, kind
        self.kept: OrderedDict[int, Any] = OrderedDict()

    def __getitem__(self, index: int) -> Any:
        index = self._row(index)
        if index not in self.kept:
            self.kept[index] = self._read(index)
            if len(self.kept) > KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(index)
        return self.kept[index]

    def make_sure(self, index: int) -> None:
        """Makes the file of a record if it is missing."""
        index = self._row(index)
        if not self._path(index).exists():
            self._make(index)

    def _row(self, index: int) -> int:
        return index if self.total is None else index % self.total

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.npz"

    def _read(self, index: int) -> Any:
        file = self._path(index)
        return self.kind.load(file) if file.exists() else self._make(index)

    def _make(self, index: int) -> Any:
        record = self.make(index)
        self.folder.mkdir(parents=True, exist_ok=True)
        record.save(self._path(index))
        return record
