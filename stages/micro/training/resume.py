"""Checkpoints from which a training goes on as if it had never stopped, and averaged weights."""

import copy
import dataclasses
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.core.state.cache import atomic_path

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


class Training:
    """Everything that changes while training; saved and loaded whole.

    Attributes:
        recipe, seed: a resumed training must have been started with the same.
        step, seconds: done so far.
    """

    def __init__(self, recipe: Any, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.step = 0
        self.seconds = 0.0

    def parts(self) -> Mapping[str, Any]:
        """The modules and optimisers that a checkpoint keeps, by name."""
        raise NotImplementedError

    def identity(self) -> str:
        return json.dumps({"recipe": dataclasses.asdict(self.recipe), "seed": self.seed}, sort_keys=True)

    def save(self, folder: Path) -> None:
        """Writes folder/checkpoint.pt, whole or not at all."""
        states = {name: part.state_dict() for name, part in self.parts().items()}
        content = {"identity": self.identity(), "step": self.step, "seconds": self.seconds, **states}
        with atomic_path(folder / FILE) as temporary:
            torch.save(content, temporary)

    def load(self, folder: Path) -> None:
        """Raises ValueError if the file is missing, damaged, or of another recipe or seed."""
        content = _read(folder / FILE)
        if content["identity"] != self.identity():
            raise ValueError(
                f"{folder / FILE}: of another recipe or seed ({content['identity']}); start again without --resume"
            )
        for name, part in self.parts().items():
            part.load_state_dict(content[name])
        self.step, self.seconds = int(content["step"]), float(content["seconds"])


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{file}: does not exist; start without --resume") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{file}: not readable as a checkpoint ({error}); start again without --resume") from error
    return content


def refuse_to_overwrite(folder: Path) -> None:
    """Raises ValueError where a training lies in `folder`."""
    if (folder / FILE).exists():
        raise ValueError(f"{folder / FILE}: a training is there already; give --resume, or another --out")
