"""What tests of trainings share: a training that is killed, and a toy task."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.training.clock import Clock, Length
from stages.training.descent import Descent
from stages.training.loop import train
from stages.training.processes import World
from stages.training.task import Part, Task


class Killed(Exception):
    """Ends a training from within, as a kill does: nothing is saved on the way out."""


def kill_before(task: Task, step: int) -> None:
    """Makes the task die where it would begin step `step`, counted from 0."""
    own = task.step

    def die_or_step(clock: Clock, progress: float) -> Mapping[str, float]:
        if clock.step == step:
            raise Killed
        return own(clock, progress)

    task.step = die_or_step  # type: ignore[method-assign]


def train_and_die(task: Task, length: Length, folder: Path, step: int, **more: Any) -> None:
    kill_before(task, step)
    try:
        train(task, length, folder, **more)
    except Killed:
        return
    raise AssertionError("it was not killed")


@dataclass(frozen=True)
class ToyRecipe:
    learning_rate: float = 0.05
    clip_norm: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)

    def rate(self, step: int, progress: float) -> float:
        return self.learning_rate * (1 - progress)


class History:
    """What ends of epochs left."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.losses = list(state["losses"])


class Toy(Descent):
    """A linear reader with dropout, averaged weights and, where `per_epoch` says so, epochs with a history."""

    log_every = 2

    def __init__(
        self,
        seed: int = 0,
        recipe: ToyRecipe | None = None,
        per_epoch: int | None = None,
        world: World | None = None,
        dropout: float = 0.3,
    ) -> None:
        recipe = recipe or ToyRecipe()
        torch.default_generator.manual_seed(seed)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(dropout), torch.nn.Linear(8, 1))
        optimiser = torch.optim.AdamW(model.parameters(), recipe.learning_rate, recipe.betas)
        super().__init__(recipe, seed, {"model": model}, optimiser, ema_decay=0.9, world=world)
        self.per_epoch, self.history, self.progress = per_epoch, History(), []

    def parts(self) -> Mapping[str, Part]:
        return {**super().parts(), "history": self.history}

    def loss(self, clock: Clock, progress: float) -> tuple[torch.Tensor, Mapping[str, float]]:
        """The mean over 8 samples, of which a process computes its share."""
        self.progress.append(progress)
        samples_B4 = torch.randn(8, 4, generator=torch.Generator().manual_seed(clock.step))
        mine_b4 = samples_B4[self.world.rank :: self.world.size]
        loss = (self.model(mine_b4)[:, 0] - mine_b4.sum(1)).square().sum() / 8
        return loss, {"loss": float(loss.detach()), **({"odd": 1.0} if clock.step % 2 else {})}

    def epoch_steps(self, epoch: int) -> int | None:
        return self.per_epoch

    def end_epoch(self, clock: Clock) -> Mapping[str, Any]:
        with torch.no_grad():
            self.history.losses.append(float(self.averaged.module[0].weight.sum()))
        return {"epoch": clock.epoch, "validation": {"sum": self.history.losses[-1]}}

    def is_over(self, clock: Clock) -> bool:
        return clock.epoch == 9

    def weights(self) -> dict[str, torch.Tensor]:
        """All that was trained, by name."""
        return {
            f"{name}.{key}": value
            for name in ("model", "averaged")
            for key, value in self.parts()[name].state_dict().items()
        }


def same(mine: Any, other: Any) -> bool:
    """Whether two states are equal to the last bit."""
    if isinstance(mine, dict) and isinstance(other, dict):
        return mine.keys() == other.keys() and all(same(mine[key], other[key]) for key in mine)
    if isinstance(mine, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(mine, other)
    return bool(mine == other)
