"""What is trained: the interface of a task to the kernel."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

from stages.training.clock import Clock


class Part(Protocol):
    """Something that changes while training: a module, an optimiser, a scheduler, a history."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


class Task(ABC):
    """One training; see the package's docstring.

    Attributes:
        log_every: number of steps averaged in a line of the curve.
    """

    log_every = 20

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """JSON values that determine the weights: only a training of equal identity can be resumed."""

    @abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """Everything that changes while training, by name; states are tensors and plain values."""

    @abstractmethod
    def step(self, clock: Clock, progress: float) -> Mapping[str, float]:
        """One optimisation step; `clock` counts those before it. Returns losses by name."""

    def epoch_steps(self, epoch: int) -> int | None:
        """The steps of an epoch, at least 1; None where epochs never end."""
        return None

    def end_epoch(self, clock: Clock) -> Mapping[str, Any]:
        """Called after the last step of epoch `clock.epoch` (from 1); what it returns is logged."""
        return {}

    def is_over(self, clock: Clock) -> bool:
        """Whether to stop before the length is reached."""
        return False
