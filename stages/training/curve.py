"""The learning curve: JSON lines, the same values as TensorBoard scalars, and means over the steps of a line."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from stages.core.state.cache import atomic_path, flatten
from stages.training.clock import Clock

FILE = "curve.jsonl"
TENSORBOARD = "tensorboard"


class Curve:
    """Writes into `folder`; None = writes nothing. What a killed run logged after step `last` is removed."""

    def __init__(self, folder: Path | None, last: int) -> None:
        self.file = None if folder is None else folder / FILE
        self.scalars = None if folder is None else SummaryWriter(str(folder / TENSORBOARD), purge_step=last + 1)
        if self.file is not None and self.file.exists():
            _remove_later(self.file, last)

    def __enter__(self) -> "Curve":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.scalars is not None:
            self.scalars.close()

    def write(self, clock: Clock, values: Mapping[str, Any]) -> None:
        """A line, with the step and the seconds so far; nested values become scalars "group/name"."""
        if self.file is None or self.scalars is None or not values:
            return
        with self.file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"step": clock.step, "seconds": round(clock.seconds, 1), **values}) + "\n")
        for name, value in flatten(values).items():
            if isinstance(value, int | float):
                self.scalars.add_scalar(name.replace(".", "/"), value, clock.step)
        self.scalars.flush()


class Means:
    """Means of losses over some steps; a loss that only some steps have is averaged over these."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, int]] = {}

    def add(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = total + value, count + 1

    def take(self) -> dict[str, float]:
        """The means, to six digits; then starts anew."""
        means = {name: float(f"{total / count:.6g}") for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means

    def state_dict(self) -> dict[str, Any]:
        return {name: list(pair) for name, pair in self.sums.items()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.sums = {name: (total, count) for name, (total, count) in state.items()}


def _remove_later(file: Path, last: int) -> None:
    """Those steps will be repeated; a line that the kill cut off is removed too."""
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] > last:
                continue
        except ValueError:
            continue
        kept.append(f"{line}\n")
    with atomic_path(file) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")
