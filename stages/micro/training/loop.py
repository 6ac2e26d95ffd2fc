"""The training loop: one step, and steps until the time or their number is used up."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from stages.core.cache import atomic_path
from stages.micro.training.batches import ImageBatch, VideoBatch, make_batch
from stages.micro.training.checkpoint import State
from stages.micro.training.forward import encode, find, follow
from stages.micro.training.losses import Losses, dense_losses, mask_losses, pointer_losses
from stages.micro.training.recipe import SIDE

log = logging.getLogger(__name__)

CURVE = "curve.jsonl"
LOG_EVERY = 20  # steps
SAVE_EVERY = 120.0  # seconds


@dataclass(frozen=True)
class Length:
    """How long to train: a number of steps (the weights then depend on recipe and seed alone), or minutes."""

    steps: int | None = None
    minutes: float | None = None

    def progress(self, state: State) -> float:
        if self.steps is not None:
            return min(state.step / self.steps, 1.0)
        assert self.minutes is not None
        return min(state.seconds / (60 * self.minutes), 1.0)


def train(state: State, length: Length, folder: Path, stop_at: int | None = None) -> None:
    """Trains to the end of `length` (or to step `stop_at`); writes checkpoint and learning curve to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    _forget_later(folder / CURVE, state.step)
    saved = time.monotonic()
    sums = Sums()
    while (progress := length.progress(state)) < 1 and state.step != stop_at:
        started = time.monotonic()
        kind, losses = train_step(state, progress)
        state.seconds += time.monotonic() - started
        sums.add(kind, losses)
        if state.step % LOG_EVERY == 0:
            record = {"step": state.step, "seconds": round(state.seconds, 1), "progress": round(progress, 4)}
            _append(folder / CURVE, {**record, **sums.means()})
            sums = Sums()
        if time.monotonic() - saved > SAVE_EVERY:
            state.save(folder)
            saved = time.monotonic()
    state.save(folder)


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


class Sums:
    """Means of losses, apart for images and videos."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, kind: str, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            self.values.setdefault(f"{kind}.{name}", []).append(value)

    def means(self) -> dict[str, float]:
        return {name: round(sum(values) / len(values), 4) for name, values in self.values.items()}


def _scaled(losses: Losses, weight: float) -> Losses:
    return {name: weight * loss for name, loss in losses.items()}


def _summed(parts: list[Losses]) -> Losses:
    total: Losses = {}
    for losses in parts:
        for name, loss in losses.items():
            total[name] = total[name] + loss if name in total else loss
    return total


def _forget_later(file: Path, step: int) -> None:
    """A killed training has logged steps that its checkpoint does not know; they will be done again."""
    if file.exists():
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if json.loads(line)["step"] <= step]
        with atomic_path(file) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _append(file: Path, record: dict[str, float]) -> None:
    with file.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(record) + "\n")
