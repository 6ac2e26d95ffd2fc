"""The scenes that steps draw from: made ahead by a process of their own, and stored as files.

A scene depends on the seed and its index alone, so it does not matter which process makes it, and when.
"""

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from stages.micro.training.mllm.records import Record

log = logging.getLogger(__name__)
KEPT = 400  # records in memory
AHEAD = 600  # scenes that are made before they are needed


class Scenes:
    """Records by index.

    Args:
        folder: their files; made if missing. Files that are there are used.
        make: (index) → record; importable, since another process calls it as well.
        total: number of records; None = endless.
    """

    def __init__(self, folder: Path, make: Callable[[int], Record], total: int | None = None) -> None:
        self.folder, self.make, self.total = folder, make, total
        self.kept: OrderedDict[int, Record] = OrderedDict()
        self.worker: Any = None
        self.wanted: Any = None

    def __getitem__(self, index: int) -> Record:
        if index not in self.kept:
            self.kept[index] = self._read(index)
            if len(self.kept) > KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(index)
        return self.kept[index]

    def path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.npz"

    def want(self, index: int) -> None:
        """Tells the process ahead how far training has come; starts it at the first call."""
        if self.worker is None:
            context = get_context("spawn")
            self.wanted = context.Value("q", index)
            arguments = (self.folder, self.make, self.wanted, self.total, os.getpid())
            self.worker = context.Process(target=_fill, args=arguments, daemon=True)
            self.worker.start()
        self.wanted.value = index

    def _read(self, index: int) -> Record:
        file = self.path(index)
        if file.exists():
            return Record.load(file)
        record = self.make(index)
        self.folder.mkdir(parents=True, exist_ok=True)
        record.save(file)
        return record


def _fill(folder: Path, make: Callable[[int], Record], wanted: Any, total: int | None, parent: int) -> None:
    """Makes what is missing, up to AHEAD scenes beyond what is wanted, until the training ends."""
    import cv2
    import torch

    os.nice(5)  # training comes first
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    index = int(wanted.value)
    while os.getppid() == parent:
        if index > wanted.value + AHEAD:
            time.sleep(0.5)
            continue
        file = folder / f"{index if total is None else index % total:06d}.npz"
        if not file.exists():
            make(index if total is None else index % total).save(file)
        index += 1
