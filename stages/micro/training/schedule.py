"""How long to train, and the loop around a step: learning curve, checkpoints, stopping."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from stages.core.state.cache import atomic_path

CURVE = "curve.jsonl"
SAVE_EVERY = 120.0  # seconds


class Trained(Protocol):
    """What changes while training: counts its steps and seconds, and saves itself."""

    step: int
    seconds: float

    def save(self, folder: Path) -> None: ...


State = TypeVar("State", bound=Trained)
Step = Callable[[State, float], tuple[str, dict[str, float]]]


@dataclass(frozen=True)
class Length:
    """How long to train: a number of steps (the weights then depend on recipe and seed alone), or minutes."""

    steps: int | None = None
    minutes: float | None = None

    def progress(self, state: Trained) -> float:
        if self.steps is not None:
            return min(state.step / self.steps, 1.0)
        assert self.minutes is not None
        return min(state.seconds / (60 * self.minutes), 1.0)


def run_steps(
    state: State, length: Length, folder: Path, step: Step[State], log_every: int, stop_at: int | None = None
) -> None:
    """Calls `step(state, progress)` to the end of `length` (or to step `stop_at`).

    A step returns the kind of its batch and losses by name; their means over `log_every` steps go to the
    curve in `folder`, and a checkpoint every other minute and at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _forget_later(folder / CURVE, state.step)
    saved = time.monotonic()
    sums = Sums()
    while (progress := length.progress(state)) < 1 and state.step != stop_at:
        started = time.monotonic()
        kind, losses = step(state, progress)
        state.seconds += time.monotonic() - started
        sums.add(kind, losses)
        if state.step % log_every == 0:
            record = {"step": state.step, "seconds": round(state.seconds, 1), "progress": round(progress, 4)}
            _append(folder / CURVE, {**record, **sums.means()})
            sums = Sums()
        if time.monotonic() - saved > SAVE_EVERY:
            state.save(folder)
            saved = time.monotonic()
    state.save(folder)


class Sums:
    """Means of losses, apart for the kinds of batches."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, kind: str, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            self.values.setdefault(f"{kind}.{name}" if kind else name, []).append(value)

    def means(self) -> dict[str, float]:
        return {name: round(sum(values) / len(values), 4) for name, values in self.values.items()}


def _forget_later(file: Path, step: int) -> None:
    """A killed training has logged steps that its checkpoint does not know; they will be done again."""
    if file.exists():
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if json.loads(line)["step"] <= step]
        with atomic_path(file) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _append(file: Path, record: dict[str, float]) -> None:
    with file.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(record) + "\n")
