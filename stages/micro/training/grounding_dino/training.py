"""The training of the micro GroundingDINO: its parts, its loss, and how the model is stored."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stages.micro.grounding_dino import make_grounding_dino
from stages.micro.training.grounding_dino.batches import make_batch
from stages.micro.training.grounding_dino.forward import detect
from stages.micro.training.grounding_dino.heads import Heads
from stages.micro.training.grounding_dino.initialise import prepare
from stages.micro.training.grounding_dino.losses import detection_losses
from stages.micro.training.grounding_dino.recipe import Recipe
from stages.training.clock import Clock
from stages.training.descent import Descent


class GroundingDinoTraining(Descent):
    """GroundingDINO and auxiliary heads on frames of the embedded world with captions of its grammar."""

    recipe: Recipe

    def __init__(self, recipe: Recipe, seed: int) -> None:
        model, self.processor = make_grounding_dino(seed)
        torch.default_generator.manual_seed(seed)
        prepare(model)
        self.heads = Heads(model.config.backbone_config.embed_dim * 2, model.config.d_model)
        optimiser = torch.optim.AdamW(
            [*model.parameters(), *self.heads.parameters()],
            recipe.learning_rate,
            recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        super().__init__(recipe, seed, {"model": model, "heads": self.heads}, optimiser, recipe.ema_decay)

    def loss(self, clock: Clock, progress: float) -> tuple[torch.Tensor, Mapping[str, float]]:
        """The loss of one batch of frames."""
        batch = make_batch(self.recipe, self.processor.tokenizer, self.seed, clock.step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            predictions = detect(self.model, batch)
        dense = self.heads.losses(predictions.image_BChw, predictions.memory_BDhw, batch.classes_B4yx)
        losses = {**detection_losses(predictions, batch), **dense}
        return torch.stack(list(losses.values())).sum(), {name: float(loss.detach()) for name, loss in losses.items()}


def save_model(training: GroundingDinoTraining, folder: Path) -> None:
    """A folder of transformers: config, processor, and averaged weights as float16, which load as float32."""
    assert training.averaged is not None
    model: Any = copy.deepcopy(training.averaged.module).eval().half()
    model.save_pretrained(folder)  # with the names of the hub's files
    training.processor.save_pretrained(folder)
