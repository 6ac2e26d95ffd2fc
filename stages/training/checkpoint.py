"""Checkpoints from which a training continues as if it had never stopped."""

import copy
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from stages.core.state.cache import atomic_path, canonical_json, flatten
from stages.training.clock import Clock
from stages.training.curve import Means
from stages.training.task import Task

FILE = "checkpoint.pt"
UNREADABLE = (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError)
ANEW = "delete it and start again without --resume"


@dataclass(frozen=True)
class Checkpoint:
    """What the file holds; tensors are on the CPU."""

    identity: Mapping[str, Any]
    clock: Clock
    means: Mapping[str, Any]
    parts: Mapping[str, Any]


def save(folder: Path, task: Task, clock: Clock, means: Means) -> None:
    """Writes folder/checkpoint.pt, completely or not at all; equal states give equal bytes."""
    content = {
        "identity": canonical_json(task.identity()),
        "clock": asdict(clock),
        "means": means.state_dict(),
        "parts": {name: _on_host(part.state_dict()) for name, part in task.parts().items()},
    }
    buffer = io.BytesIO()  # torch.save would put a file's name into the bytes
    torch.save(content, buffer)
    with atomic_path(folder / FILE) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _on_host(state: Any) -> Any:
    """With tensors of a GPU copied to the CPU, so that any machine can go on; others are passed on as they are."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        moved = copy.copy(state)  # a module's state has attributes
        moved.update((name, _on_host(value)) for name, value in state.items())
        return moved
    if isinstance(state, list | tuple):
        return type(state)(map(_on_host, state))
    return state


def read(folder: Path) -> Checkpoint | None:
    """The checkpoint of a folder; None where there is none.

    Raises:
        ValueError: it is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        identity = json.loads(content["identity"])
        return Checkpoint(identity, Clock(**content["clock"]), content["means"], content["parts"])
    except UNREADABLE as error:
        raise ValueError(f"{file}: not readable as a checkpoint ({error!r:.200}); {ANEW}") from error


def resume_from(folder: Path, task: Task, means: Means) -> Clock:
    """Restores a task from its checkpoint; raises ValueError where that is not possible."""
    checkpoint = read(folder)
    if checkpoint is None:
        raise ValueError(f"{folder / FILE}: does not exist; start without --resume")
    changed = _difference(checkpoint.identity, json.loads(canonical_json(task.identity())))
    if changed:
        raise ValueError(
            f"{folder / FILE}: made by another recipe or seed ({changed}); train into another folder, or {ANEW}"
        )
    try:
        for name, part in task.parts().items():
            part.load_state_dict(checkpoint.parts[name])
    except UNREADABLE as error:
        raise ValueError(f"{folder / FILE}: made by another version of the code ({error!r:.200}); {ANEW}") from error
    means.load_state_dict(checkpoint.means)
    return checkpoint.clock


def refuse_to_overwrite(folder: Path) -> None:
    """Raises ValueError where `folder` holds a training."""
    if (folder / FILE).exists():
        raise ValueError(f"{folder / FILE}: a training is there already; give --resume, or train into another folder")


def _difference(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    old, new = flatten(theirs), flatten(mine)
    return "; ".join(
        f"{name}: {old.get(name)} → {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )
