"""The training of a [SEG] model as a task of the training kernel."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from stages.core.state.cache import Stamp
from stages.prompting.seg.training.data import Clips, trainable
from stages.prompting.seg.training.learning import LOSSES, Draws, Learner
from stages.prompting.seg.training.order import Group, steps_of
from stages.prompting.seg.training.trained import TrainedWeights
from stages.training.arithmetic import autocast, seed_torch
from stages.training.clock import Clock
from stages.training.descent import parameters_of, update
from stages.training.processes import World
from stages.training.task import Part, Task

log = logging.getLogger(__name__)


@dataclass
class History:
    """One entry per finished epoch."""

    entries: list[dict[str, Any]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        return {"entries": self.entries}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.entries = list(state["entries"])


class SegTask(Task):
    """
    Args:
        stamp: the identity.
        train: videos to learn from; `validation` those to measure, None = none.
    """

    log_every = 10

    def __init__(
        self,
        stamp: Stamp,
        weights: TrainedWeights,
        learner: Learner,
        train: Clips,
        validation: Clips | None,
        device: str,
        world: World,
    ) -> None:
        self.stamp, self.weights, self.learner, self.device, self.world = stamp, weights, learner, device, world
        self.train, self.validation, self.training = train, validation, learner.training
        named = weights.named
        decayed = [p for name, p in named.items() if p.ndim > 1 and "embed" not in name]
        others = [p for name, p in named.items() if not (p.ndim > 1 and "embed" not in name)]
        decay = self.training.weight_decay
        groups = [{"params": decayed, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = AdamW(groups, lr=self.training.learning_rate, fused=True)
        self.history = History()
        self._expressions = [trainable(video) for _, video in train.places]
        self._steps: tuple[int, list[list[Group]]] | None = None  # of which epoch

    def identity(self) -> Mapping[str, Any]:
        identity: Mapping[str, Any] = json.loads(self.stamp.dumps())
        return identity

    def parts(self) -> Mapping[str, Part]:
        return {"weights": self.weights, "optimiser": self.optimiser, "history": self.history}

    def epoch_steps(self, epoch: int) -> int:
        return len(self._steps_of(epoch))

    def step(self, clock: Clock, progress: float) -> Mapping[str, float]:
        """One optimisation step; its loss is the mean over the sentences of all processes.

        Raises:
            ValueError: the loss is not finite.
        """
        middle = progress + 0.5 / (self.training.epochs * self.epoch_steps(clock.epoch))
        rate = self.training.learning_rate * share_of_rate(middle, self.training.warm_up)
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = rate
        groups = self._steps_of(clock.epoch)[clock.epoch_step]
        n_sentences = sum(len(group.expressions) for group in groups)
        self.weights.train()
        sums = torch.zeros(len(LOSSES), device=self.device)
        for i, group in self.world.deal(list(enumerate(groups))):
            key = (self.training.seed, clock.epoch, clock.epoch_step, i)
            seed_torch(*key)  # of dropout
            sums += self._descend(group, Draws(key), n_sentences)
        add_gradients(self.world, parameters_of(self.optimiser))
        self.world.add_up([sums])
        norm = update(self.optimiser, self.training.clip_norm)
        named = dict(zip(LOSSES, (sums / n_sentences).tolist(), strict=True))
        if not all(map(math.isfinite, named.values())):
            raise ValueError(
                f"the loss is not finite in epoch {clock.epoch + 1}, step {clock.epoch_step + 1} ({named}): lower "
                "seg_training.learning_rate"
            )
        return {**named, "norm": norm, "rate": rate}

    def end_epoch(self, clock: Clock) -> Mapping[str, Any]:
        """Measures the validation split."""
        entry: dict[str, Any] = {"epoch": clock.epoch}
        if self.validation is not None:
            entry["validation"] = self._validate(self.validation)
            log.info("epoch %d: validation IoU %.4f of %d sentences", clock.epoch, *entry["validation"].values())
        self.history.entries.append(entry)
        return entry

    def _descend(self, group: Group, draws: Draws, n_sentences: int) -> Tensor:
        """Adds a group's gradients; returns its sums."""
        weights = self.training.loss
        with autocast(self.device, self.training.precision):
            sums = self.learner.losses(self.train.open(group.video), group.expressions, draws)
        loss = weights.text * sums["text"] + weights.mask * sums["mask"] + weights.dice * sums["dice"]
        (loss / n_sentences).backward()
        return torch.stack([sums[name].detach() for name in LOSSES])

    def _validate(self, clips: Clips) -> dict[str, float]:
        sentences = [(v, e) for v, (_, video) in enumerate(clips.places) for e in trainable(video)]
        n = min(self.training.validation_sentences, len(sentences))
        chosen = [sentences[i] for i in np.linspace(0, len(sentences) - 1, n, dtype=int)]
        videos = sorted({video for video, _ in chosen})
        self.weights.model.eval()
        mine: list[list[float]] = []
        for video in self.world.deal(videos):
            with autocast(self.device, self.training.precision):
                mine.append(self.learner.iou(clips.open(video), [e for v, e in chosen if v == video]))
        values = [value for video in self.world.gather(mine) for value in video]
        return {"iou": float(np.mean(values)) if values else 0.0, "sentences": len(values)}

    def _steps_of(self, epoch: int) -> list[list[Group]]:
        if self._steps is None or self._steps[0] != epoch:
            own = self.training
            key = (own.seed, epoch)
            self._steps = epoch, steps_of(self._expressions, own.batch_size, own.expressions_per_video, key)
        return self._steps[1]


def share_of_rate(progress: float, warm_up: float) -> float:
    """Of the highest learning rate: a straight rise, then a cosine to 0."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def add_gradients(world: World, parameters: Sequence[torch.nn.Parameter]) -> None:
    """Sums gradients over processes; what none of them used keeps none, so that it does not decay."""
    if world.size == 1:
        return
    used = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    world.add_up([used])
    world.add_up(world.gradients([p for p, n in zip(parameters, used.tolist(), strict=True) if n]))
