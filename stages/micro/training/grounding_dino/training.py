"""State, step and loop."""

import copy
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from stages.micro.grounding_dino import make_grounding_dino
from stages.micro.training.grounding_dino.batches import make_batch
from stages.micro.training.grounding_dino.forward import detect
from stages.micro.training.grounding_dino.heads import Heads
from stages.micro.training.grounding_dino.initialise import prepare
from stages.micro.training.grounding_dino.losses import Losses, detection_losses
from stages.micro.training.grounding_dino.recipe import Recipe
from stages.micro.training.resume import Averaged, Training
from stages.micro.training.schedule import Length, run_steps

log = logging.getLogger(__name__)

LOG_EVERY = 20  # steps


class State(Training):
    """Everything that changes while training."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        super().__init__(recipe, seed)
        self.model, self.processor = make_grounding_dino(seed)
        torch.default_generator.manual_seed(seed)
        prepare(self.model)
        channels = self.model.config.backbone_config.embed_dim * 2
        self.heads = Heads(channels, self.model.config.d_model)
        self.averaged = Averaged(self.model, recipe.ema_decay)
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        self.optimiser = torch.optim.AdamW(
            self.parameters, recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )

    def parts(self) -> dict[str, Any]:
        averaged = self.averaged.module
        return {"model": self.model, "heads": self.heads, "averaged": averaged, "optimiser": self.optimiser}


def train(state: State, length: Length, folder: Path, stop_at: int | None = None) -> None:
    """Trains to the end of `length` (or to step `stop_at`); writes checkpoint and learning curve to `folder`."""
    run_steps(state, length, folder, train_step, LOG_EVERY, stop_at)


def train_step(state: State, progress: float) -> tuple[str, dict[str, float]]:
    """One batch forward and backward, one step of the optimiser; returns the losses by name."""
    recipe = state.recipe
    for group in state.optimiser.param_groups:
        group["lr"] = recipe.rate(state.step, progress)
    state.model.train()
    losses = batch_losses(state)
    torch.stack(list(losses.values())).sum().backward()
    norm = nn.utils.clip_grad_norm_(state.parameters, recipe.clip_norm)
    if torch.isfinite(norm):
        state.optimiser.step()
    else:
        log.warning("step %d: a gradient is not finite; skipped", state.step)
    state.optimiser.zero_grad()
    state.averaged.update(state.model, state.step)
    state.step += 1
    return "", {**{name: float(loss.detach()) for name, loss in losses.items()}, "norm": float(norm)}


def batch_losses(state: State) -> Losses:
    """Losses of the batch of this step, by name."""
    batch = make_batch(state.recipe, state.processor.tokenizer, state.seed, state.step)
    half = state.recipe.precision == "bfloat16"
    with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = detect(state.model, batch)
    dense = state.heads.losses(found.image_BChw, found.memory_BDhw, batch.classes_B4yx)
    return {**detection_losses(found, batch), **dense}


def save_model(state: State, folder: Path) -> None:
    """A folder of transformers: config, processor, and averaged weights as float16, which load as float32."""
    model: Any = copy.deepcopy(state.averaged.module).eval().half()
    model.save_pretrained(folder)  # by the names of the hub's files
    state.processor.save_pretrained(folder)
