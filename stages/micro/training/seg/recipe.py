"""Every number of the training, and how it changes with progress."""

from dataclasses import dataclass, replace
from typing import Literal

STAGES: tuple["Stage", ...] = ("vision", "find", "nouns", "all")
Stage = Literal["vision", "find", "nouns", "all"]
FRAMES = 4  # of a video, with a [SEG] token each: frame_tokens
EARLY = 2  # of a short stretch, before the last stage


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, besides the seed, the length of the training and what it starts from.

    Shares are of the training's progress, 0 … 1.
    """

    learning_rate: float = 1.5e-3
    vision_rate: float = 2e-3  # while the vision tower is trained alone
    decoder_share: float = 0.2  # of the learning rate, for SAM2's mask decoder, which can decode clicks already
    final_share: float = 0.02  # of the learning rate, at the end
    decay_from: float = 0.6
    warm_up_steps: int = 60
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    vision_until: float = 0.12  # what is where in single frames: the vision tower alone
    find_until: float = 0.28  # which image tokens a noun phrase means, in two frames of a short stretch; no masks yet
    nouns_until: float = 0.36  # masks of noun phrases there
    frames: int = 72  # per step of the first stage
    videos: tuple[int, int] = (24, 12)  # per step of the stages with noun phrases alone, and of the last
    sentences: tuple[int, int] = (6, 8)  # per video there; the mask of one frame of each is learnt
    nouns: float = 0.2  # share of noun phrases, in the last stage
    statements: float = 0.35  # share of statements there; the rest are sentences
    mask: float = 2.0  # weights of the losses: cross-entropy of masks, …
    dice: float = 0.5
    points: int = 512  # of a mask of 32 × 32 logits, at which these are measured
    quality: float = 0.2  # how well a mask fits, as it is predicted, and whether the object is there
    showing: float = 1.0  # whether each image token shows what is asked for
    shows_weight: float = 4.0  # of those that do, in it
    middle: float = (
        4.0  # an image token of the one object that is meant is what SAM2 makes of a click on that object's middle
    )
    pointing: float = 0.5  # the image tokens that show the object
    place: float = 1.0  # centre and size in its frame
    click: float = 4.0  # a [SEG] is what SAM2 makes of a click on the one object that is meant, in its frame
    dense: float = 1.0  # what each image token shows
    words: float = 0.05  # the answer's tokens
    window: int = 240  # scenes in use at a time
    fresh: float = 4.0  # new ones per step
    heads_first: int = 0  # steps in which only what is discarded afterwards is trained

    def further(self) -> "Recipe":
        """Of a training that goes on from a trained model: sentences about whole videos, at a lower rate. What was discarded is learnt
        again before it may change the model."""
        return replace(
            self,
            learning_rate=8e-4,
            decay_from=0.15,
            warm_up_steps=120,
            vision_until=0.0,
            find_until=0.0,
            nouns_until=0.0,
            heads_first=40,
        )

    def rate(self, step: int, progress: float) -> float:
        """Warm-up, constant, then straight down."""
        rate = self.vision_rate if progress < self.vision_until else self.learning_rate
        left = min((1 - progress) / (1 - self.decay_from), 1.0)
        return rate * min((step + 1) / self.warm_up_steps, 1.0) * max(left, self.final_share)

    def stage(self, progress: float) -> Stage:
        """One of `STAGES`."""
        ends = (self.vision_until, self.find_until, self.nouns_until, float("inf"))
        return next(stage for stage, end in zip(STAGES, ends, strict=True) if progress < end)
