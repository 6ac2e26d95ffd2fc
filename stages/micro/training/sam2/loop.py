"""One step of the SAM2 training, and steps until the time or their number is used up."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from stages.micro.training.sam2.batches import ImageBatch, VideoBatch, make_batch
from stages.micro.training.sam2.checkpoint import State
from stages.micro.training.sam2.forward import encode, find, follow
from stages.micro.training.sam2.losses import Losses, dense_losses, mask_losses, pointer_losses
from stages.micro.training.sam2.recipe import SIDE
from stages.micro.training.schedule import Length, run_steps

log = logging.getLogger(__name__)

LOG_EVERY = 20  # steps


def train(state: State, length: Length, folder: Path, stop_at: int | None = None) -> None:
    """Trains to the end of `length` (or to step `stop_at`); writes checkpoint and learning curve to `folder`."""
    run_steps(state, length, folder, train_step, LOG_EVERY, stop_at)


def train_step(state: State, progress: float) -> tuple[str, dict[str, float]]:
    """One batch forward and backward, one step of the optimiser.

    Returns:
        "image" or "video", and the losses by name.
    """
    batch = make_batch(state.recipe, state.seed, state.step, progress)
    side = SIDE if progress >= state.recipe.fine_from else SIDE // 2
    for group in state.optimiser.param_groups:
        group["lr"] = state.recipe.rate(state.step, progress)
    state.model.train()
    with arithmetic(state.recipe.precision):
        losses = batch_losses(state, batch, side)
    if progress < state.recipe.quality_from:
        losses["iou"] = losses["iou"].detach()
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(state.parameters, state.recipe.clip_norm)
    if torch.isfinite(norm):
        state.optimiser.step()
    else:
        log.warning("step %d: a gradient is not finite; skipped", state.step)
    state.optimiser.zero_grad()
    state.averaged.update(state.model, state.step)
    state.step += 1
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    return ("video" if isinstance(batch, VideoBatch) else "image"), {**values, "norm": float(norm)}


def batch_losses(state: State, batch: ImageBatch | VideoBatch, side: int) -> Losses:
    """Losses by name, means over prompts or frames."""
    features = encode(state.model, batch.images_TB3SS.flatten(0, 1))
    with torch.autocast("cpu", enabled=False):
        fine, coarse = features.map(0).float(), features.map(-1).float()
        readings = state.heads.dense(fine, coarse)
    parts = [dense_losses(readings, batch.dense_TB3ss.flatten(0, 1), batch.classes_TB2ss.flatten(0, 1))]
    if isinstance(batch, VideoBatch):
        found_T = follow(state.model, features, batch)
        n = len(found_T)
        for t, found in enumerate(found_T):
            parts.append(_scaled(pointer_losses(state.heads.read(found.pointer_OC.float()), batch.targets, t), 1 / n))
            weight = 1 / (n - 1) if t else 0.1 / n  # frame 0 only repeats its prompt
            parts.append(_scaled(mask_losses(found, batch.targets.masks_TOSS[t], side), weight))
    else:
        n = sum(len(group.targets.image_O) for group in batch.groups)
        for group in batch.groups:
            found = find(state.model, features, group)
            share = len(group.targets.image_O) / n
            parts.append(_scaled(pointer_losses(state.heads.read(found.pointer_OC.float()), group.targets, 0), share))
            weight = share if group.points_OP2 is not None else 0.1 * share
            parts.append(_scaled(mask_losses(found, group.targets.masks_TOSS[0], side), weight))
    return _summed(parts)


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """bfloat16 where it is safe, and the plain attention kernel: the fused one is slow backwards on CPUs."""
    with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        yield


def _scaled(losses: Losses, weight: float) -> Losses:
    return {name: weight * loss for name, loss in losses.items()}


def _summed(parts: list[Losses]) -> Losses:
    total: Losses = {}
    for losses in parts:
        for name, loss in losses.items():
            total[name] = total[name] + loss if name in total else loss
    return total
