"""The open table TRACKERS: where learning curves are shown beside curve.jsonl. stages/training/trackers lists them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.core.table import Table

PROJECT = "referee"  # or experiment, where the environment names none


@dataclass(frozen=True)
class Run:
    """A training, as a tracker is told of it.

    Attributes:
        folder: of the training.
        title: what people know it by: the end of the folder's path.
        id: of the tracker's run that goes on; None = a new one.
        last: the step after which it goes on, 0 at the start.
        parameters: what decides the weights, flat, as JSON values.
    """

    folder: Path
    title: str
    id: str | None
    last: int
    parameters: Mapping[str, Any]


class Writer(Protocol):
    """A run of a tracker that is open. What it raises ends it, not the training."""

    @property
    def id(self) -> str:
        """By which the run is opened again."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures by name, as "validation/j_and_f", of a step; a step may have several calls with other names."""

    def close(self, failed: bool) -> None:
        """After the last step, or where the training ends by an exception."""


@dataclass(frozen=True)
class Tracker:
    """An experiment tracker.

    Attributes:
        name: in `run.experiment_trackers`, and of the extra in pyproject.toml that installs it.
        package: what must be importable.
        open: begins a run or goes on with one. Imports the package itself.
        rewinds: a run that goes on forgets what it was told of later steps. Otherwise these are not told it again.
    """

    name: str
    package: str
    open: Callable[[Run], Writer]
    rewinds: bool = False

    def check(self) -> None:
        pass


TRACKERS = Table[Tracker]("experiment tracker", "stages.training.trackers:LISTED")
