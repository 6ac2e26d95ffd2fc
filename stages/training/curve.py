"""The learning curve: JSON lines, the same values in experiment trackers, and means over the steps of a line."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from stages.core.digests import flatten
from stages.core.state.cache import atomic_path
from stages.training.clock import Clock
from stages.training.experiment import Experiment, Past

FILE = "curve.jsonl"
TRACKERS = ("tensorboard",)  # where nothing else is asked for


class Curve:
    """Writes into `folder`; None = writes nothing. What a killed run logged after step `last` is removed.

    Args:
        trackers: names of experiment trackers that are told the same.
        identity: of the training, which they are told as its parameters.

    Raises:
        ValueError: a tracker is not installed, or cannot begin a run.
    """

    def __init__(
        self,
        folder: Path | None,
        last: int,
        trackers: Sequence[str] = TRACKERS,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.file = None if folder is None else folder / FILE
        self.experiment = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            past = _go_back(folder / FILE, last)
            self.experiment = Experiment(folder, trackers, past, flatten(identity or {}))

    def __enter__(self) -> "Curve":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.experiment is not None:
            self.experiment.close(failed=kind is not None)

    def write(self, clock: Clock, values: Mapping[str, Any]) -> None:
        """A line, with the step and the seconds so far."""
        if self.file is None or self.experiment is None or not values:
            return
        line = {"step": clock.step, "seconds": round(clock.seconds, 1), **values}
        with self.file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
        self.experiment.log(line)


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


def _go_back(file: Path, last: int) -> Past:
    """Removes what comes after step `last`, since those steps are repeated, and a line that the kill cut off."""
    if not file.exists():
        return Past(resumed=last > 0)
    written = []
    for text in file.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            written.append((json.loads(text), text))
    kept = [(line, text) for line, text in written if line["step"] <= last]
    with atomic_path(file) as temporary:
        temporary.write_text("".join(f"{text}\n" for _, text in kept), encoding="utf-8")
    return Past([line for line, _ in kept], len(written), last > 0)
