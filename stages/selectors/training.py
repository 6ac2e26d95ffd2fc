"""The training of a selector: steps over packed sentences, validation after every epoch, the best one kept.

AdamW and clipped gradients; the learning rate falls on a plateau of the validation loss (arXiv 2412.01136), or
straight to zero over the second half of the epochs. The best epoch is the one of highest validation J&F; ties go to
the one of lower loss, then the earlier.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stages.core.config.selector_sections import Selector
from stages.core.state.cache import Stamp
from stages.selectors import BEST
from stages.selectors.batch import Batch, chunks, collate
from stages.selectors.checkpoint import Header, save_selector
from stages.selectors.network import Network
from stages.selectors.order import Group, drawn_statements, share, steps_of, trainable
from stages.selectors.quality import Quality
from stages.selectors.store import Store, ahead
from stages.selectors.validation import validate
from stages.training.arithmetic import autocast, seed_torch
from stages.training.clock import Clock
from stages.training.descent import update
from stages.training.processes import World
from stages.training.task import Part, Task

log = logging.getLogger(__name__)
WARM_UP, LEAST_SHARE = 100, 0.02  # steps, and the share of the learning rate at the end, of schedule "linear"


@dataclass(frozen=True)
class Data:
    """What to train on and to validate on, and how a choice of tracks is measured."""

    train: Store
    validation: Store
    quality: Quality


@dataclass
class Epochs:
    """The state that epochs carry on.

    Attributes:
        sums: of the losses in the current epoch by name, and "samples".
        history: one entry per finished epoch.
        best: the entry of the best one; None before the first.
    """

    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.sums, self.history, self.best = dict(state["sums"]), list(state["history"]), state["best"]

    def count(self, sums: Mapping[str, float]) -> None:
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value


class SelectorTask(Task):
    """One training of one network.

    Args:
        folder: best.safetensors is written there.
        stamp: the identity; `header` is that of the selector that is made.
        tokens_per_pass: limit of a forward pass; it does not change what a step computes.
        stop_at_f1: training ends at this validation F1.
    """

    def __init__(
        self,
        folder: Path,
        stamp: Stamp,
        header: Header,
        data: Data,
        config: Selector,
        tokens_per_pass: int,
        model: Network,
        device: str,
        world: World,
        stop_at_f1: float = math.inf,
    ) -> None:
        self.folder, self.stamp, self.header, self.data = folder, stamp, header, data
        self.config, self.training, self.tokens_per_pass = config, config.training, tokens_per_pass
        self.model, self.device, self.world, self.stop_at_f1 = model, device, world, stop_at_f1
        training = self.training
        self.optimiser = AdamW(model.parameters(), lr=config.own.learning_rate, weight_decay=training.weight_decay)
        self.scheduler = ReduceLROnPlateau(
            self.optimiser, factor=training.plateau_factor, patience=training.plateau_patience
        )
        self.epochs = Epochs()
        self._steps: tuple[int, list[list[Group]]] | None = None  # of which epoch
        self._passes: Iterator[list[Batch]] = iter(())
        self._coming: tuple[int, int] | None = None  # epoch and step whose passes come next

    def identity(self) -> Mapping[str, Any]:
        identity: Mapping[str, Any] = json.loads(self.stamp.dumps())
        return identity

    def parts(self) -> Mapping[str, Part]:
        return {
            "model": self.model,
            "optimiser": self.optimiser,
            "scheduler": self.scheduler,
            "epochs": self.epochs,
        }

    def is_over(self, clock: Clock) -> bool:
        epochs, patience = self.epochs, self.training.patience
        without_better = clock.epoch - (epochs.best["epoch"] if epochs.best else 0)
        if patience is not None and without_better >= patience:
            log.info("no better epoch in %d: training ends after epoch %d", patience, clock.epoch)
            return True
        return bool(epochs.history) and epochs.history[-1]["validation"]["f1"] >= self.stop_at_f1

    def epoch_steps(self, epoch: int) -> int:
        return len(self._steps_of(epoch))

    def step(self, clock: Clock, progress: float) -> Mapping[str, float]:
        """One optimisation step; its loss is the mean over the samples of all processes.

        Raises:
            ValueError: the loss is not finite.
        """
        passes = self._passes_of(clock)
        n_samples = sum(len(expressions) for _, expressions in self._steps_of(clock.epoch)[clock.epoch_step])
        if self.training.schedule == "linear":
            for group in self.optimiser.param_groups:
                group["lr"] = self.config.own.learning_rate * linear_share(clock.step, progress)
        seed_torch(self.training.seed, clock.epoch, clock.epoch_step, self.world.rank)  # of dropout
        sums = accumulate(self.model, passes, n_samples, self.config, self.device)
        self.world.add_up([*self.world.gradients(list(self.model.parameters())), sums])
        update(self.optimiser, self.training.clip_norm)
        named = dict(zip(self.model.loss_weights(self.config), sums.tolist(), strict=True))
        if not all(map(math.isfinite, named.values())):
            raise ValueError(
                f"the loss is not finite in epoch {clock.epoch + 1}, step {clock.epoch_step + 1} ({named}): lower "
                "the learning_rate of its section"
            )
        self.epochs.count({**named, "samples": n_samples})
        return {name: value / n_samples for name, value in named.items()}

    def end_epoch(self, clock: Clock) -> Mapping[str, Any]:
        """Validates and keeps the best."""
        validation = validate(
            self.model,
            self.data.validation,
            self.data.quality,
            self.config,
            self.tokens_per_pass,
            self.device,
            self.world,
        )
        entry = {
            "epoch": clock.epoch,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "train": self._mean_losses(),
            "validation": asdict(validation),
        }
        if self.training.schedule == "plateau":
            self.scheduler.step(validation.loss)
        epochs = self.epochs
        if epochs.best is None or _rank(entry) > _rank(epochs.best):
            epochs.best = entry
            if self.world.first:
                save_selector(self.folder / BEST, self.model, replace(self.header, threshold=validation.threshold))
        epochs.history.append(entry)
        epochs.sums = {}
        words = ", ".join(f"{name} {value:.4f}" for name, value in entry["validation"].items())
        log.info("epoch %d: loss %.4f; validation %s", clock.epoch, entry["train"]["loss"], words)
        return entry

    @cached_property
    def _expressions(self) -> list[list[int]]:
        return trainable(self.data.train.videos)

    def _steps_of(self, epoch: int) -> list[list[Group]]:
        if self._steps is None or self._steps[0] != epoch:
            statements = drawn_statements(self.data.train.videos, self.training, epoch)
            sentences = [known + more for known, more in zip(self._expressions, statements, strict=True)]
            self._steps = epoch, steps_of(sentences, self.data.train.sizes, self.training, epoch)
        return self._steps[1]

    def _passes_of(self, clock: Clock) -> list[Batch]:
        """The passes of the step that begins; those of the next are prepared meanwhile."""
        if self._coming != (clock.epoch, clock.epoch_step):
            left = self._steps_of(clock.epoch)[clock.epoch_step :]
            self._passes = ahead(partial(self._make_passes, step, clock.epoch) for step in left)
            self.model.train()
        self._coming = clock.epoch, clock.epoch_step + 1
        return next(self._passes)

    def _make_passes(self, step: Sequence[Group], epoch: int) -> list[Batch]:
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

    def _mean_losses(self) -> dict[str, float]:
        sums, weights = self.epochs.sums, self.model.loss_weights(self.config)
        means = {name: sums[name] / sums["samples"] for name in weights}
        return {"loss": sum(weights[name] * value for name, value in means.items()), **means}


def accumulate(model: Network, passes: Sequence[Batch], n_samples: int, config: Selector, device: str) -> Tensor:
    """Adds the gradients of the mean loss over `n_samples`, some of which are in `passes`.

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


def linear_share(step: int, progress: float) -> float:
    """The share of the learning rate after so many steps: warm-up, one half as it is, then straight to almost zero."""
    return min(1.0, (step + 1) / WARM_UP) * max(LEAST_SHARE, min(1.0, 2 * (1 - progress)))


def _rank(entry: Mapping[str, Any]) -> tuple[float, float]:
    return entry["validation"]["jf"], -entry["validation"]["loss"]
