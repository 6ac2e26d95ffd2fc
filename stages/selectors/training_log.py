"""What a training says of each epoch: TensorBoard scalars, and a line."""

import logging
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)


class TrainingLog:
    """Writes below `folder`; None = writes nothing. What a killed run wrote of epochs after `first` is dropped."""

    def __init__(self, folder: Path | None, first: int) -> None:
        self.writer = None if folder is None else SummaryWriter(str(folder), purge_step=first)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            self.writer.close()

    def write(self, entry: dict[str, Any]) -> None:
        """An entry of the history."""
        epoch, found = entry["epoch"], entry["validation"]
        words = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        log.info("epoch %d: loss %.4f; validation %s", epoch, entry["train"]["loss"], words)
        if self.writer is None:
            return
        self.writer.add_scalar("learning_rate", entry["learning_rate"], epoch)
        for group in ("train", "validation"):
            for name, value in entry[group].items():
                self.writer.add_scalar(f"{group}/{name}", value, epoch)
        self.writer.flush()
