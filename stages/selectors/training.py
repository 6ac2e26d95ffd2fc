"""Trains a selector, and goes on exactly where a killed training stopped.

AdamW, ReduceLROnPlateau on the validation loss, clipped gradients (arXiv 2412.01136). The best epoch is
the one of highest validation J&F; of equals the one of lower loss, then the earlier.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from stages.core.cache import Stamp
from stages.core.settings import SelectorTraining
from stages.selectors import BEST
from stages.selectors.arithmetic import deterministic
from stages.selectors.batch import Sample, collate
from stages.selectors.checkpoint import Header, save_selector
from stages.selectors.losses import selection_losses
from stages.selectors.order import read_steps, steps_of, trainable
from stages.selectors.samples import VideoTracks
from stages.selectors.sola import Sola
from stages.selectors.state import Learner, Progress, restore, save_state
from stages.selectors.validation import Quality, Validation, validate

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 60.0  # at most this much is lost to a kill; how often never changes the result


@dataclass(frozen=True)
class Data:
    """The videos to train on and to validate on, and how a choice of tracks is measured."""

    train: Sequence[VideoTracks]
    validation: Sequence[VideoTracks]
    quality: Quality


def make_learner(model: Sola, config: SelectorTraining) -> Learner:
    optimiser = AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    scheduler = ReduceLROnPlateau(optimiser, factor=config.plateau_factor, patience=config.plateau_patience)
    return Learner(model, optimiser, scheduler)


class Trainer:
    """One training and its folder: last.pt after every epoch and every minute, best.safetensors, TensorBoard."""

    def __init__(
        self,
        folder: Path,
        stamp: Stamp,
        header: Header,
        data: Data,
        config: SelectorTraining,
        learner: Learner,
        device: str,
    ) -> None:
        self.folder, self.stamp, self.header = folder, stamp, header
        self.data, self.config, self.learner, self.device = data, config, learner, device
        self.expressions = trainable(data.train)
        self.progress = Progress()

    def resume(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        self.progress = restore(state, self.learner)
        log.info("training goes on after epoch %d, step %d", self.progress.epoch, self.progress.step)

    def run(self) -> Progress:
        """Trains to the last epoch.

        Raises:
            ValueError: the loss is not a number any more.
        """
        first = self.progress.epoch
        writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=first)
        with deterministic(), writer:
            while self.progress.epoch < self.config.epochs:
                self._train_epoch()
                self._finish_epoch(writer)
        return self.progress

    def _train_epoch(self) -> None:
        """The steps of the epoch that are not done yet."""
        progress, config = self.progress, self.config
        self.learner.model.train()
        steps = steps_of(self.expressions, config.batch_size, config.seed, progress.epoch)
        saved = time.monotonic()
        title = f"epoch {progress.epoch + 1}/{config.epochs}"
        batches = read_steps(self.data.train, steps[progress.step :], config.positive_iou)
        for samples in tqdm(batches, desc=title, total=len(steps), initial=progress.step, unit="step"):
            self._step(samples)
            if time.monotonic() - saved >= CHECKPOINT_SECONDS:
                save_state(self.folder, self.stamp, self.learner, progress)
                saved = time.monotonic()

    def _step(self, samples: Sequence[Sample]) -> None:
        """One optimisation step; its loss is the mean over its samples."""
        model, optimiser = self.learner.model, self.learner.optimiser
        batch = collate(samples).to(self.device)
        logits_BN, z_BND = model(batch)
        losses = selection_losses(logits_BN, z_BND, model.negative_token.weight, batch, self.config)
        optimiser.zero_grad(set_to_none=True)
        losses.total_B.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), self.config.clip_norm)
        optimiser.step()
        self._count(losses.bce_B.sum().item(), losses.alignment_B.sum().item(), len(samples))

    def _count(self, bce: float, alignment: float, samples: int) -> None:
        progress = self.progress
        if not math.isfinite(bce + alignment):
            raise ValueError(
                f"the loss is not finite in epoch {progress.epoch + 1}, step {progress.step + 1} "
                f"(cross-entropy {bce}, alignment {alignment}): lower selector.training.learning_rate"
            )
        for name, value in (("bce", bce), ("alignment", alignment), ("samples", samples)):
            progress.sums[name] = progress.sums.get(name, 0.0) + value
        progress.step += 1

    def _finish_epoch(self, writer: SummaryWriter) -> None:
        """Validates, keeps the best, writes the state and the log."""
        progress, learner = self.progress, self.learner
        found = validate(learner.model, self.data.validation, self.data.quality, self.config, self.device)
        entry = self._entry(found)
        learner.scheduler.step(found.loss)
        if progress.best is None or _rank(entry) > _rank(progress.best):
            progress.best = entry
            save_selector(self.folder / BEST, learner.model, self.header)
        progress.history.append(entry)
        progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
        save_state(self.folder, self.stamp, learner, progress)
        _write_scalars(writer, entry)
        log.info("epoch %d: loss %.4f; validation %s", entry["epoch"], entry["train"]["loss"], _words(found))

    def _entry(self, found: Validation) -> dict[str, Any]:
        sums = self.progress.sums
        train = {name: sums[name] / sums["samples"] for name in ("bce", "alignment")}
        return {
            "epoch": self.progress.epoch + 1,
            "learning_rate": self.learner.optimiser.param_groups[0]["lr"],
            "train": {"loss": train["bce"] + self.config.alignment_weight * train["alignment"], **train},
            "validation": asdict(found),
        }


def _rank(entry: dict[str, Any]) -> tuple[float, float]:
    return entry["validation"]["jf"], -entry["validation"]["loss"]


def _write_scalars(writer: SummaryWriter, entry: dict[str, Any]) -> None:
    epoch = entry["epoch"]
    writer.add_scalar("learning_rate", entry["learning_rate"], epoch)
    for group in ("train", "validation"):
        for name, value in entry[group].items():
            writer.add_scalar(f"{group}/{name}", value, epoch)
    writer.flush()


def _words(found: Validation) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in asdict(found).items())
