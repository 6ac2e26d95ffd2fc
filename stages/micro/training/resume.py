"""Checkpoints from which a training goes on as if it had never stopped, and averaged weights."""

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.core.cache import atomic_path

FILE = "checkpoint.pt"


class Averaged:
    """The exponential moving average of a module's parameters (buffers are copied)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Early steps count for more, so that the start is soon forgotten."""
        keep = min(self.decay, (1 + step) / (10 + step))
        averaged: list[torch.Tensor] = list(self.module.parameters())
        new: list[torch.Tensor] = list(module.parameters())
        torch._foreach_lerp_(averaged, new, 1 - keep)


def write_checkpoint(folder: Path, identity: str, step: int, seconds: float, parts: Mapping[str, Any]) -> None:
    """Writes the states of `parts` (modules, optimisers) to folder/checkpoint.pt, whole or not at all.

    Args:
        identity: of recipe and seed; a resumed training must have been started with the same.
    """
    states = {name: part.state_dict() for name, part in parts.items()}
    with atomic_path(folder / FILE) as temporary:
        torch.save({"identity": identity, "step": step, "seconds": seconds, **states}, temporary)


def read_checkpoint(folder: Path, identity: str, parts: Mapping[str, Any]) -> tuple[int, float]:
    """Loads the states of `parts`; returns steps and seconds done.

    Raises:
        ValueError: the file is missing, damaged, or of another recipe or seed.
    """
    file = folder / FILE
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{file}: does not exist; start without --resume") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{file}: not readable as a checkpoint ({error}); start again without --resume") from error
    if content["identity"] != identity:
        raise ValueError(f"{file}: of another recipe or seed ({content['identity']}); start again without --resume")
    for name, part in parts.items():
        part.load_state_dict(content[name])
    return int(content["step"]), float(content["seconds"])


def refuse_to_overwrite(folder: Path) -> None:
    """Raises ValueError where a training lies in `folder`."""
    if (folder / FILE).exists():
        raise ValueError(f"{folder / FILE}: a training is there already; give --resume, or another --out")
