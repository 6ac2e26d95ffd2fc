"""How far a training has come, and how long it is."""

from dataclasses import dataclass


@dataclass
class Clock:
    """How far a training has come.

    Attributes:
        step: finished steps.
        seconds: spent in them and at the ends of epochs.
        epoch: finished epochs.
        epoch_step: finished steps of the next one.
    """

    step: int = 0
    seconds: float = 0.0
    epoch: int = 0
    epoch_step: int = 0

    def advance(self, epoch_steps: int | None) -> bool:
        """Counts a step; returns whether it was the last one of its epoch."""
        self.step += 1
        self.epoch_step += 1
        if self.epoch_step != epoch_steps:
            return False
        self.epoch, self.epoch_step = self.epoch + 1, 0
        return True


@dataclass(frozen=True)
class Length:
    """How long to train: a number of steps or of epochs (the weights then depend on the identity alone), or minutes.

    Raises:
        ValueError: not exactly one of them is given, or it is not positive.
    """

    steps: int | None = None
    minutes: float | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1 or min(given.values()) <= 0:
            raise ValueError(f"a training's length is a positive number of steps, minutes or epochs, got {given}")

    def progress(self, clock: Clock, epoch_steps: int | None) -> float:
        """0 at the start, 1 at the end; `epoch_steps` are those of the current epoch, None where epochs never end."""
        if self.steps is not None:
            return min(clock.step / self.steps, 1.0)
        if self.minutes is not None:
            return min(clock.seconds / (60 * self.minutes), 1.0)
        assert self.epochs is not None and epoch_steps, "a length in epochs needs a task whose epochs end"
        return min((clock.epoch + clock.epoch_step / epoch_steps) / self.epochs, 1.0)

    def __str__(self) -> str:
        return next(f"{value:g} {name}" for name, value in vars(self).items() if value is not None)
