"""The training of the micro SAM2: its parts, its loss, and how its weights are stored."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from sam2.modeling.sam2_base import SAM2Base

from stages.core.state.cache import atomic_path
from stages.micro.training.sam2.batches import ImageBatch, VideoBatch, make_batch
from stages.micro.training.sam2.forward import encode, find, follow
from stages.micro.training.sam2.heads import AuxiliaryHeads
from stages.micro.training.sam2.initialise import prepare
from stages.micro.training.sam2.losses import Losses, dense_losses, mask_losses, pointer_losses
from stages.micro.training.sam2.recipe import SIDE, Recipe
from stages.tracking.sam2_model import build_sam2
from stages.training.clock import Clock
from stages.training.descent import Descent

CONFIG = "stages/micro/sam2_micro.yaml"


class Sam2Training(Descent):
    """SAM2 and auxiliary heads on images and videos of the embedded world."""

    recipe: Recipe

    def __init__(self, recipe: Recipe, seed: int) -> None:
        torch.default_generator.manual_seed(seed)
        model = build_sam2(CONFIG, SAM2Base)
        prepare(model)
        self.heads = AuxiliaryHeads()
        optimiser = torch.optim.AdamW(
            [*model.parameters(), *self.heads.parameters()],
            recipe.learning_rate,
            recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        super().__init__(recipe, seed, {"model": model, "heads": self.heads}, optimiser, recipe.ema_decay)

    def loss(self, clock: Clock, progress: float) -> tuple[torch.Tensor, Mapping[str, float]]:
        """The loss of one batch of images or of videos, in bfloat16 where it is safe."""
        recipe = self.recipe
        batch = make_batch(recipe, self.seed, clock.step, progress)
        side = SIDE if progress >= recipe.fine_from else SIDE // 2
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            losses = self._losses(batch, side)
        if progress < recipe.quality_from:
            losses["iou"] = losses["iou"].detach()
        kind = "video" if isinstance(batch, VideoBatch) else "image"
        values = {f"{kind}.{name}": float(loss.detach()) for name, loss in losses.items()}
        return torch.stack(list(losses.values())).sum(), values

    def _losses(self, batch: ImageBatch | VideoBatch, side: int) -> Losses:
        """The loss terms by name, as means over prompts or frames."""
        features = encode(self.model, batch.images_TB3SS.flatten(0, 1))
        with torch.autocast("cpu", enabled=False):
            fine, coarse = features.map(0).float(), features.map(-1).float()
            readings = self.heads.dense(fine, coarse)
        parts = [dense_losses(readings, batch.dense_TB3ss.flatten(0, 1), batch.classes_TB2ss.flatten(0, 1))]
        if isinstance(batch, VideoBatch):
            decoded_T = follow(self.model, features, batch)
            n = len(decoded_T)
            for t, decoded in enumerate(decoded_T):
                reading = self.heads.read(decoded.pointer_OC.float())
                parts.append(_scaled(pointer_losses(reading, batch.targets, t), 1 / n))
                weight = 1 / (n - 1) if t else 0.1 / n  # frame 0 only repeats its prompt
                parts.append(_scaled(mask_losses(decoded, batch.targets.masks_TOSS[t], side), weight))
        else:
            n = sum(len(group.targets.image_O) for group in batch.groups)
            for group in batch.groups:
                decoded = find(self.model, features, group)
                share = len(group.targets.image_O) / n
                reading = self.heads.read(decoded.pointer_OC.float())
                parts.append(_scaled(pointer_losses(reading, group.targets, 0), share))
                weight = share if group.points_OP2 is not None else 0.1 * share
                parts.append(_scaled(mask_losses(decoded, group.targets.masks_TOSS[0], side), weight))
        return _summed(parts)


def _scaled(losses: Losses, weight: float) -> Losses:
    return {name: weight * loss for name, loss in losses.items()}


def _summed(parts: list[Losses]) -> Losses:
    total: Losses = {}
    for losses in parts:
        for name, loss in losses.items():
            total[name] = total[name] + loss if name in total else loss
    return total


def save_weights(model: SAM2Base, file: Path) -> None:
    """float16 safetensors, half as large; `load_sam2` loads them strictly, as float32."""
    with atomic_path(file) as temporary:
        save_file({name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}, temporary)
