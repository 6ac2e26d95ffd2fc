"""The state of a training that is under way: everything that a resumed one needs to end in the same bytes.

No random state is in it: order and dropout of a step are drawn from the seed and the step's number.
"""

import io
import logging
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stages.core.state.cache import Stamp, atomic_path
from stages.selectors.network import Network

log = logging.getLogger(__name__)
FILE = "last.pt"


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        epoch: finished epochs.
        step: finished steps of the next one; its order is drawn from the seed and the epoch alone.
        sums: of the losses in these steps by name, and "samples".
        history: one entry an epoch.
        best: the entry of the best one; None before the first.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None

    @property
    def epochs_without_better(self) -> int:
        return self.epoch - (self.best["epoch"] if self.best else 0)


@dataclass(frozen=True)
class Learner:
    """What an optimisation step changes."""

    model: Network
    optimiser: AdamW
    scheduler: ReduceLROnPlateau


def save_state(folder: Path, stamp: Stamp, learner: Learner, progress: Progress) -> None:
    """Writes the state atomically: tensors and plain values only."""
    state = {
        "stamp": stamp.dumps(),
        "model": learner.model.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "scheduler": learner.scheduler.state_dict(),
        "progress": asdict(progress),
    }
    buffer = io.BytesIO()  # a file's own name would enter the bytes
    torch.save(state, buffer)
    with atomic_path(folder / FILE) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_state(folder: Path) -> dict[str, Any] | None:
    """The saved state, on the CPU; None where there is none or it cannot be read (a warning says so)."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        Stamp.loads(state["stamp"])
        return dict(state)
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        log.warning("%s: not readable (%s); training starts anew", path, error)
        return None


def restore(state: dict[str, Any], learner: Learner) -> Progress:
    """Brings model, optimiser and scheduler back to where they were saved."""
    learner.model.load_state_dict(state["model"])
    learner.optimiser.load_state_dict(state["optimiser"])
    learner.scheduler.load_state_dict(state["scheduler"])
    return Progress(**state["progress"])
