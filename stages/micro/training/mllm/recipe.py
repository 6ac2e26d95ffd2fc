"""Every number of the training, and how it changes with progress."""

from dataclasses import dataclass

CARD_SIDE = 64  # pixels of a card's picture: 16 patches, 4 tokens
STAGES = ("vision", "nouns", "moves", "all")
MIXES = (("card", "facts"), ("card",), ("facts",))


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, besides the seed, the length of the training and the tracks it is given.

    Shares are of the training's progress, 0 … 1.
    """

    learning_rate: float = 1.5e-3
    vision_rate: float = 2e-3  # while the vision tower is trained alone
    final_share: float = 0.02  # of the learning rate, at the end
    decay_from: float = 0.6
    warm_up_steps: int = 60
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    vision_until: float = 0.045  # looks from single cards: the vision tower alone
    nouns_until: float = 0.14  # noun phrases about a candidate on its own
    moves_until: float = 0.18  # also where it is and which way it goes, from the numbers of its card
    cards: int = 96  # per step of the first stage
    clips: int = 8  # per step of the others
    candidates: int = 6  # asked about per clip
    questions: int = 10  # per candidate
    tracks_from: float = 0.45  # from here on half of the clips are tracks, where any are given
    against_from: float = 0.4  # from here on candidates are also asked about with yes against them: flipping comes last
    against: float = 0.4  # their share
    mixes: tuple[float, float, float] = (0.75, 0.2, 0.05)  # shares of the views in MIXES
    nouns: tuple[float, float] = (0.3, 0.1)  # share of noun phrases, at the start and at the end of the last stage
    statements: tuple[float, float] = (0.6, 0.3)  # share of statements; the rest are sentences
    longest: tuple[int, ...] = (7, 9, 12, 40)  # words of a sentence in a step, with …
    longest_shares: tuple[float, ...] = (0.25, 0.35, 0.25, 0.15)  # … these chances: short ones leave less padding
    wording: float = 0.3  # weight of the words of true sentences as targets …
    early_wording: float = 1.0  # … and while candidates are alone
    judged: float = 0.5  # weight of what is true, told by the words themselves …
    early_judged: float = 2.0  # … and while candidates are alone
    window: int = 96  # scenes in use at a time
    fresh: float = 1.5  # new ones per step
    fresh_tracks: float = 0.6  # videos with tracks, over and over

    def rate(self, step: int, progress: float) -> float:
        """Warm-up, constant, then straight down."""
        rate = self.vision_rate if progress < self.vision_until else self.learning_rate
        left = min((1 - progress) / (1 - self.decay_from), 1.0)
        return rate * min((step + 1) / self.warm_up_steps, 1.0) * max(left, self.final_share)

    def stage(self, progress: float) -> str:
        """One of `STAGES`."""
        ends = (self.vision_until, self.nouns_until, self.moves_until)
        return STAGES[sum(progress >= end for end in ends)]

    def shares(self, progress: float) -> tuple[float, float]:
        """Of noun phrases and of statements among the questions of the last stage."""
        done = max(0.0, (progress - self.moves_until) / (1 - self.moves_until))
        done = min(1.0, 2 * done)
        return _between(self.nouns, done), _between(self.statements, done)

    def against_share(self, progress: float) -> float:
        """Of candidates that are asked about with yes against them: none at first, since nothing is learnt from both at once."""
        return self.against if progress >= self.against_from else 0.0


def _between(ends: tuple[float, float], done: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * done
