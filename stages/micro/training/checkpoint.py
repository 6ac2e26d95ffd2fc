"""Averaged weights, and checkpoints from which a training goes on as if it had never stopped."""

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sam2.modeling.sam2_base import SAM2Base
from torch import nn

from stages.core.cache import atomic_path
from stages.micro.training.heads import AuxiliaryHeads
from stages.micro.training.initialise import prepare
from stages.micro.training.recipe import Recipe
from stages.tracking.sam2_model import build_sam2

CONFIG = "stages/micro/sam2_micro.yaml"
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


class State:
    """Everything that changes while training."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        torch.default_generator.manual_seed(seed)
        self.recipe, self.seed = recipe, seed
        self.model = build_sam2(CONFIG, SAM2Base)
        prepare(self.model)
        self.heads = AuxiliaryHeads()
        self.averaged = Averaged(self.model, recipe.ema_decay)
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        self.optimiser = torch.optim.AdamW(
            self.parameters, recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )
        self.step = 0
        self.seconds = 0.0

    def identity(self) -> str:
        """A resumed training must have been started with the same."""
        return json.dumps({"recipe": dataclasses.asdict(self.recipe), "seed": self.seed}, sort_keys=True)

    def save(self, folder: Path) -> None:
        content: dict[str, Any] = {
            "identity": self.identity(),
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "averaged": self.averaged.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        with atomic_path(folder / FILE) as temporary:
            torch.save(content, temporary)

    def load(self, folder: Path) -> None:
        """Raises ValueError if the file is damaged or of another recipe or seed."""
        file = folder / FILE
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(f"{file}: not readable as a checkpoint ({error}); start again without --resume") from error
        if content["identity"] != self.identity():
            raise ValueError(f"{file}: of another recipe or seed ({content['identity']}); start again without --resume")
        self.step, self.seconds = content["step"], content["seconds"]
        self.model.load_state_dict(content["model"])
        self.heads.load_state_dict(content["heads"])
        self.averaged.module.load_state_dict(content["averaged"])
        self.optimiser.load_state_dict(content["optimiser"])


def save_weights(model: SAM2Base, file: Path) -> None:
    """float16 safetensors, half as large; `load_sam2` loads them strictly, as float32."""
    with atomic_path(file) as temporary:
        save_file({name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}, temporary)
