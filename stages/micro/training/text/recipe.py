"""Every number of the training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, besides the seed and the length of the training."""

    learning_rate: float = 2e-3
    warm_up_steps: int = 50
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    batch: int = 64  # families of sentences
    family: int = 4  # a sentence and others that say almost the same: hard negatives
    temperature: float = 0.07
    state_width: int = 128

    def rate(self, step: int, progress: float) -> float:
        """Warm-up, then straight to zero."""
        return self.learning_rate * min((step + 1) / self.warm_up_steps, 1.0) * (1 - progress)
