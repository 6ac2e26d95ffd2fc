"""Trains a selector, and goes on exactly where a killed training stopped.

AdamW, ReduceLROnPlateau on the validation loss, clipped gradients (arXiv 2412.01136). The best epoch is
the one of highest validation J&F; of equals the one of lower loss, then the earlier.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from stages.core.config.sections import Selector
from stages.core.state.cache import Stamp
from stages.selectors import BEST
from stages.selectors.arithmetic import autocast, deterministic
from stages.selectors.batch import Batch, chunks, collate
from stages.selectors.checkpoint import Header, save_selector
from stages.selectors.distributed import World
from stages.selectors.network import Network
from stages.selectors.order import Group, share, steps_of, trainable
from stages.selectors.quality import Quality
from stages.selectors.state import Learner, Progress, restore, save_state
from stages.selectors.store import Store, ahead
from stages.selectors.training_log import TrainingLog
from stages.selectors.validation import Validation, validate

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 60.0  # at most this much is lost to a kill; how often never changes the result


@dataclass(frozen=True)
class Data:
    """What is trained on and validated on, and how a choice of tracks is measured."""

    train: Store
    validation: Store
    quality: Quality


def make_learner(model: Network, config: Selector) -> Learner:
    training = config.training
    optimiser = AdamW(model.parameters(), lr=config.own.learning_rate, weight_decay=training.weight_decay)
    scheduler = ReduceLROnPlateau(optimiser, factor=training.plateau_factor, patience=training.plateau_patience)
    return Learner(model, optimiser, scheduler)


class Trainer:
    """One training and its folder: last.pt after every epoch and every minute, best.safetensors, TensorBoard."""

    def __init__(
        self,
        folder: Path,
        stamp: Stamp,
        header: Header,
        data: Data,
        config: Selector,
        tokens_per_pass: int,
        learner: Learner,
        device: str,
        world: World,
    ) -> None:
        self.folder, self.stamp, self.header = folder, stamp, header
        self.data, self.learner, self.device, self.world = data, learner, device, world
        self.config, self.training, self.tokens_per_pass = config, config.training, tokens_per_pass
        self.expressions = trainable(data.train.videos)
        self.progress = Progress()

    def resume(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        self.progress = restore(state, self.learner)
        log.info("training goes on after epoch %d, step %d", self.progress.epoch, self.progress.step)

    def run(self, stop_at_f1: float = math.inf) -> Progress:
        """Trains to the last epoch, to the end of the patience, or to a validation F1.

        Raises:
            ValueError: the loss is not a number any more.
        """
        folder = self.folder / "tensorboard" if self.world.first else None
        with deterministic(), TrainingLog(folder, first=self.progress.epoch) as scalars:
            while not self._is_over(stop_at_f1):
                self._train_epoch()
                self._finish_epoch(scalars)
        return self.progress

    def _is_over(self, stop_at_f1: float) -> bool:
        progress, patience = self.progress, self.training.patience
        if progress.epoch >= self.training.epochs:
            return True
        if patience is not None and progress.epochs_without_better >= patience:
            log.info("no better epoch in %d: training ends after epoch %d", patience, progress.epoch)
            return True
        return bool(progress.history) and progress.history[-1]["validation"]["f1"] >= stop_at_f1

    def _train_epoch(self) -> None:
        """The steps of the epoch that are not done yet."""
        progress = self.progress
        self.learner.model.train()
        steps = steps_of(self.expressions, self.data.train.sizes, self.training, progress.epoch)
        left = steps[progress.step :]
        saved = time.monotonic()
        bar = tqdm(
            ahead(partial(self._passes, step, progress.epoch) for step in left),
            desc=f"epoch {progress.epoch + 1}/{self.training.epochs}",
            total=len(steps),
            initial=progress.step,
            unit="step",
            disable=not self.world.first,
        )
        for step, passes in zip(left, bar, strict=True):
            self._step(passes, sum(len(expressions) for _, expressions in step))
            if self.world.first and time.monotonic() - saved >= CHECKPOINT_SECONDS:
                save_state(self.folder, self.stamp, self.learner, progress)
                saved = time.monotonic()

    def _passes(self, step: Sequence[Group], epoch: int) -> list[Batch]:
        """This process' share of a step, in batches that fit into memory; a group is never cut."""
        store = self.data.train
        groups = [
            store.samples(video, expressions, epoch)
            for video, expressions in share(step, store.sizes, self.world.rank, self.world.size)
        ]
        sizes = [(len(g), max(map(len, g)), g[0].tracks.n_frames) for g in groups]
        return [
            collate([sample for i in indices for sample in groups[i]])
            for indices in chunks(sizes, self.tokens_per_pass)
        ]

    def _step(self, passes: Sequence[Batch], n_samples: int) -> None:
        """One optimisation step; its loss is the mean over the samples of all processes."""
        model, optimiser = self.learner.model, self.learner.optimiser
        self._seed()
        optimiser.zero_grad(set_to_none=True)
        sums = accumulate(model, passes, n_samples, self.config, self.device)
        self.world.add_up([*gradients(model, self.world), sums])
        torch.nn.utils.clip_grad_norm_(model.parameters(), self.training.clip_norm)
        optimiser.step()
        self._count(dict(zip(model.loss_weights(self.config), sums.tolist(), strict=True)), n_samples)

    def _seed(self) -> None:
        """Dropout of a step is drawn from its number: a resumed training needs no random state."""
        progress, config = self.progress, self.training
        key = np.random.SeedSequence([config.seed & 0xFFFFFFFF, progress.epoch, progress.step, self.world.rank])
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))

    def _count(self, sums: dict[str, float], n_samples: int) -> None:
        progress = self.progress
        if not all(map(math.isfinite, sums.values())):
            raise ValueError(
                f"the loss is not finite in epoch {progress.epoch + 1}, step {progress.step + 1} ({sums}): lower "
                "the learning_rate of its section"
            )
        for name, value in (*sums.items(), ("samples", n_samples)):
            progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.step += 1

    def _finish_epoch(self, scalars: TrainingLog) -> None:
        """Validates, keeps the best, writes the state and the log."""
        progress, learner = self.progress, self.learner
        found = validate(
            learner.model,
            self.data.validation,
            self.data.quality,
            self.config,
            self.tokens_per_pass,
            self.device,
            self.world,
        )
        entry = self._entry(found)
        learner.scheduler.step(found.loss)
        if progress.best is None or _rank(entry) > _rank(progress.best):
            progress.best = entry
            if self.world.first:
                save_selector(self.folder / BEST, learner.model, replace(self.header, threshold=found.threshold))
        progress.history.append(entry)
        progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
        if self.world.first:
            save_state(self.folder, self.stamp, learner, progress)
            scalars.write(entry)

    def _entry(self, found: Validation) -> dict[str, Any]:
        sums, weights = self.progress.sums, self.learner.model.loss_weights(self.config)
        train = {name: sums[name] / sums["samples"] for name in weights}
        return {
            "epoch": self.progress.epoch + 1,
            "learning_rate": self.learner.optimiser.param_groups[0]["lr"],
            "train": {"loss": sum(weights[name] * value for name, value in train.items()), **train},
            "validation": asdict(found),
        }


def accumulate(model: Network, passes: Sequence[Batch], n_samples: int, config: Selector, device: str) -> Tensor:
    """Adds the gradients of the mean loss over `n_samples`, of which `passes` hold some.

    Returns:
        The sums of each part of the loss, in the order of `loss_weights`, float32.
    """
    names = tuple(model.loss_weights(config))
    sums = torch.zeros(len(names), device=device)
    for batch in passes:
        on_device = batch.to(device)
        with autocast(device, config.training.precision):
            output = model(on_device)
        losses = model.losses(output, on_device, config)
        (losses.total_B.sum() / n_samples).backward()
        sums += torch.stack([losses.parts[name].detach().sum() for name in names])
    return sums


def gradients(model: Network, world: World) -> list[Tensor]:
    """Of all parameters, zero where this process had no sample; none where there is one process alone."""
    if world.size == 1:
        return []
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def _rank(entry: dict[str, Any]) -> tuple[float, float]:
    return entry["validation"]["jf"], -entry["validation"]["loss"]
