"""The state of the SAM2 training, and how its weights are stored."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sam2.modeling.sam2_base import SAM2Base

from stages.core.state.cache import atomic_path
from stages.micro.training.resume import Averaged, Training
from stages.micro.training.sam2.heads import AuxiliaryHeads
from stages.micro.training.sam2.initialise import prepare
from stages.micro.training.sam2.recipe import Recipe
from stages.tracking.sam2_model import build_sam2

CONFIG = "stages/micro/sam2_micro.yaml"


class State(Training):
    """Everything that changes while training."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        super().__init__(recipe, seed)
        torch.default_generator.manual_seed(seed)
        self.model = build_sam2(CONFIG, SAM2Base)
        prepare(self.model)
        self.heads = AuxiliaryHeads()
        self.averaged = Averaged(self.model, recipe.ema_decay)
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        self.optimiser = torch.optim.AdamW(
            self.parameters, recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )

    def parts(self) -> dict[str, Any]:
        averaged = self.averaged.module
        return {"model": self.model, "heads": self.heads, "averaged": averaged, "optimiser": self.optimiser}


def save_weights(model: SAM2Base, file: Path) -> None:
    """float16 safetensors, half as large; `load_sam2` loads them strictly, as float32."""
    with atomic_path(file) as temporary:
        save_file({name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}, temporary)
