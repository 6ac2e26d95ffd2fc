"""Every number of the training, and how it changes with progress."""

from dataclasses import dataclass

SIDE = 128  # of the model's square input, pixels
MASK_SIDE = 32  # of the decoder's logits


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, besides the seed and the length of the training.

    Shares are of the training's progress, 0 … 1.
    """

    learning_rate: float = 7e-4
    final_rate: float = 5e-4  # reached just before the last decay to zero
    warm_up_steps: int = 60
    decay_share: float = 0.3
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 0.5
    ema_decay: float = 0.997
    image_share: float = 0.15  # images alone
    images: int = 10  # per step of images
    object_frames: int = 44  # per step of videos: objects × frames
    min_frames: int = 3
    max_frames: int = 8
    late_frames: int = 12  # some clips of the last fifth
    quality_from: float = 0.04  # predicted IoUs are trained: before, all are near 0 and the head would collapse
    negatives_from: float = 0.08  # background clicks
    teacher: tuple[float, float] = (0.8, 0.1)  # share of true masks in the memory, first and last
    teacher_until: float = 0.75
    fine_from: float = 0.8  # from here on masks are compared at full size instead of half
    precision: str = "bfloat16"

    def rate(self, step: int, progress: float) -> float:
        """Warm-up, a slow fall, then straight to zero."""
        held = min(progress / (1 - self.decay_share), 1.0)
        rate = self.learning_rate + (self.final_rate - self.learning_rate) * held
        left = min((1 - progress) / self.decay_share, 1.0)
        return rate * min((step + 1) / self.warm_up_steps, 1.0) * max(left, 0.0)

    def is_video(self, step: int, progress: float) -> bool:
        """Images alone at first, then three steps of videos to one of images."""
        return progress >= self.image_share and step % 4 != 0

    def frames(self, progress: float, chance: float) -> int:
        """Clips grow from `min_frames` to `max_frames`; `chance` (0 … 1) picks a few longer ones late."""
        if progress > 0.8 and chance < 0.25:
            return self.late_frames
        grown = (progress - self.image_share) / (0.75 - self.image_share)
        longest = self.min_frames + (self.max_frames - self.min_frames) * min(max(grown, 0.0), 1.0)
        return round(self.min_frames + (longest - self.min_frames) * chance**0.5)

    def teacher_share(self, progress: float) -> float:
        first, last = self.teacher
        done = (progress - self.image_share) / (self.teacher_until - self.image_share)
        return first + (last - first) * min(max(done, 0.0), 1.0)
