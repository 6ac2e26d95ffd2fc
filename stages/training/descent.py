"""One step of gradient descent with learning rate, clipping and sums over processes; averaged weights."""

import copy
import dataclasses
import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stages.training.arithmetic import seed_torch
from stages.training.clock import Clock
from stages.training.processes import World
from stages.training.task import Part, Task

log = logging.getLogger(__name__)


class Recipe(Protocol):
    """Every number of a training; a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def clip_norm(self) -> float:
        """The largest norm of a gradient; longer ones are scaled down to it."""

    def rate(self, step: int, progress: float) -> float:
        """The learning rate."""


class Averaged:
    """The exponential moving average of a module's parameters; buffers are copied."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Early steps have more weight, so that the initial weights soon fade."""
        keep = min(self.decay, (1 + step) / (10 + step))
        averaged: list[Tensor] = list(self.module.parameters())
        new: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(averaged, new, 1 - keep)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)


class Descent(Task):
    """A task whose step descends one loss.

    Args:
        recipe, seed: its identity.
        modules: what is trained, by name; the first is the model, the others are discarded afterwards.
        optimiser: of all their parameters; a group's "share", 1 where it has none, multiplies its learning rate.
        ema_decay: of the model's averaged weights; None = no averaging.
        world: its processes; the gradients of their losses are added up.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        modules: Mapping[str, nn.Module],
        optimiser: Optimizer,
        ema_decay: float | None = None,
        world: World | None = None,
    ) -> None:
        self.recipe, self.seed, self.modules, self.optimiser = recipe, seed, dict(modules), optimiser
        self.averaged = None if ema_decay is None else Averaged(self.model, ema_decay)
        self.world = world or World()

    @property
    def model(self) -> Any:
        return next(iter(self.modules.values()))

    @abstractmethod
    def loss(self, clock: Clock, progress: float) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        """This process' share of the loss, and values to log by name; tensors are read after the step, on a GPU all at once."""

    def identity(self) -> Mapping[str, Any]:
        return {"recipe": dataclasses.asdict(self.recipe), "seed": self.seed}

    def parts(self) -> Mapping[str, Part]:
        averaged = {} if self.averaged is None else {"averaged": self.averaged.module}
        return {**self.modules, **averaged, "optimiser": self.optimiser}

    def step(self, clock: Clock, progress: float) -> Mapping[str, float]:
        seed_torch(self.seed, clock.step, self.world.rank)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate(clock.step, progress) * group.get("share", 1.0)
        for module in self.modules.values():
            module.train()
        loss, values = self.loss(clock, progress)
        loss.backward()
        self.world.add_up(self.world.gradients(parameters_of(self.optimiser)))
        norm = update(self.optimiser, self.recipe.clip_norm)
        if self.averaged is not None:
            self.averaged.update(self.model, clock.step)
        return {**{name: float(value) for name, value in values.items()}, "norm": norm}


def update(optimiser: Optimizer, clip_norm: float) -> float:
    """Clips the gradients, steps and zeroes them; a step whose gradients are not finite is skipped.

    Returns:
        The norm of the gradients before clipping.
    """
    norm = nn.utils.clip_grad_norm_(parameters_of(optimiser), clip_norm)
    if torch.isfinite(norm):
        optimiser.step()
    else:
        log.warning("a gradient is not finite: its step is skipped")
    optimiser.zero_grad(set_to_none=True)
    return float(norm)


def parameters_of(optimiser: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
