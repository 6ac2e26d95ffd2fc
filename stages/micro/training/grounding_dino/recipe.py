"""Every number of the training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, besides the seed and the length of the training."""

    learning_rate: float = 8e-4
    warm_up_steps: int = 100
    decay_share: float = 0.35  # of the training, at its end: the rate falls straight to zero
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 0.5
    ema_decay: float = 0.998
    images: int = 12  # per step
    rois: int = 12  # queries per image that start at jittered true boxes
    shake: float = 0.25  # of a box's extent
    precision: str = "bfloat16"

    def rate(self, step: int, progress: float) -> float:
        """Warm-up, level, then straight to zero."""
        left = min((1 - progress) / self.decay_share, 1.0)
        return self.learning_rate * min((step + 1) / self.warm_up_steps, 1.0) * max(left, 0.0)
