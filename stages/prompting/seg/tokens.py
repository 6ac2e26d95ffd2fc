"""The tokens of a video's sentences: images once, then all sentences together.

Legend: K states of an answer, D the MLLM's width, C = 256 channels of a projected token, N clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from stages.core.run.batches import Batches
from stages.prompting.seg.conversation import as_words
from stages.prompting.seg.pictures import Image3
from stages.prompting.seg.plan import Plan
from stages.prompting.seg.settings import SegPrompts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Answered:
    """What the MLLM said to a sentence.

    Attributes:
        text: its answer.
        token_KC: float32, the projected state of each [SEG], then of [TAK]; K = 0 where it answered without.
    """

    text: str
    token_KC: "Tensor"


class Speaker:
    """Asks a [SEG] model.

    Args:
        model: a stages.prompting.seg.checkpoint SegModel.
        batches: how many sentences go through it at once.
    """

    def __init__(self, model: Any, settings: SegPrompts, batches: Batches) -> None:
        self.model, self.settings, self.batches = model, settings, batches

    def ask(self, plan: Plan, images: Sequence[Image3], texts: Sequence[str]) -> list[Answered]:
        """One answer per sentence; the images are encoded once."""
        seen = self.model.encode(list(images))
        requests = [self.settings.chosen.request(as_words(text, self.model.tokenizer)) for text in texts]
        ask = self._forced if self.settings.answer == "forced" else self._generated
        return [answer for _, part in self.batches.run(requests, partial(ask, plan, seen)) for answer in part]

    def _forced(self, plan: Plan, seen: Any, requests: Sequence[str]) -> list[Answered]:
        text = self.settings.chosen.answer(self.settings.own, plan)
        states = self.model.states(seen, requests, [text] * len(requests))
        return [Answered(text, self.model.project(state_KD).float()) for state_KD in states]

    def _generated(self, plan: Plan, seen: Any, requests: Sequence[str]) -> list[Answered]:
        answers = self.model.generate(seen, requests, self.settings.max_new_tokens)
        return [Answered(answer.text, self.model.project(answer.states_nD).float()) for answer in answers]


def fitted(token_KC: "Tensor", n_clips: int) -> "Tensor":
    """(N, C): a token for each clip. The last serves the clips that are left, and there may be more than are needed."""
    import torch

    assert len(token_KC)
    return torch.cat([token_KC[:n_clips], token_KC[-1:].expand(max(0, n_clips - len(token_KC)), -1)])
