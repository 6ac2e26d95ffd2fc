"""A sentence on its way from the MLLM's answer to masks.

Legend: N clips, F slots, K tokens of the answer, C = 256 channels of a token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stages.core.records import Rle
from stages.prompting.seg.aggregation import aggregate, keyframe
from stages.prompting.seg.plan import Plan
from stages.prompting.seg.settings import SegPrompts
from stages.prompting.seg.tokens import Answered, fitted


@dataclass(frozen=True)
class DecodedMask:
    """A mask at frame size, its predicted IoU, and its object-score logit (nan where that was forced on every frame)."""

    rle: Rle
    iou: float
    score: float


@dataclass(eq=False)
class Sentence:
    """
    Attributes:
        token_NC: per clip of the plan; none where the MLLM gave no token.
        weight_F: of its slots, where the variant merges tokens.
        masks: by frame.
    """

    plan: Plan
    answered: Answered
    token_NC: Tensor
    weight_F: Tensor | None = None
    masks: dict[int, DecodedMask] = field(default_factory=dict)

    def tokens_at(self, frame: int) -> list[tuple[Tensor, int]]:
        """Tokens that are decoded in a frame, with their weights."""
        return [(self.token_NC[decode.clip], decode.weight) for decode in self.plan.at.get(frame, ())]

    def kept(self) -> Mapping[int, DecodedMask]:
        """The masks that become prompts: all, or of merged tokens that of the keyframe alone."""
        if self.weight_F is None or not self.masks:
            return self.masks
        score_F = torch.tensor([self.masks[frame].score for frame in self.plan.slots])
        best = self.plan.slots[keyframe(score_F, self.weight_F.cpu())]
        return {best: self.masks[best]}


def sentence_of(settings: SegPrompts, plan: Plan, answered: Answered) -> Sentence:
    """What the variant makes of an answer's tokens."""
    token_KC = answered.token_KC
    if settings.chosen.merge == "clips":
        return Sentence(plan, answered, fitted(token_KC, plan.n_clips) if len(token_KC) else token_KC)
    if len(token_KC) < 2 or "[TAK]" not in answered.text:
        return Sentence(plan, answered, token_KC[:0])
    seg_FC = fitted(token_KC[:-1], len(plan.slots))
    token_C, weight_F = aggregate(seg_FC, token_KC[-1], settings.own.alpha)
    return Sentence(plan, answered, token_C.expand(plan.n_clips, -1), weight_F)
