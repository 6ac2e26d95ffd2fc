"""Greedy answers to several requests together, and the states of their [SEG] tokens as they are written.

Legend: B requests, n [SEG] and [TAK] tokens of an answer, R rows of positions, D language width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.prompting.seg.checkpoint.language import Ids, LanguageSide, Seen
from stages.prompting.seg.checkpoint.passes import Read
from stages.prompting.seg.checkpoint.reading import Reading

LOOK_BACK = 16  # tokens in which a text that ends an answer is looked for


@dataclass(frozen=True)
class Answer:
    """What the model answered.

    Attributes:
        text: without what ended it.
        ids: its tokens, what ended it among them unless that is the end-of-sequence token.
        states_nD: of its [SEG] and [TAK] tokens, in order.
        finished: it ended by itself.
    """

    text: str
    ids: tuple[int, ...]
    states_nD: Tensor
    finished: bool


class Writing:
    """One answer while it is written."""

    def __init__(self, side: LanguageSide) -> None:
        self.side = side
        self.ids: Ids = []
        self.states: list[Tensor] = []
        self.finished = False

    def add(self, token: int) -> None:
        """Takes the next token, unless it ends the answer."""
        if self.finished:
            return
        self.finished = token == self.side.tokenizer.eos_token_id
        if not self.finished:
            self.ids.append(token)
            last = self._text(self.ids[-LOOK_BACK:]).replace("\r", "").replace("\n", "")
            self.finished = last.endswith(self.side.ends)

    def answer(self, nothing_0D: Tensor) -> Answer:
        text = self._text(self.ids)
        text = next((text[: text.rindex(end)] for end in self.side.ends if self.finished and end in text), text).strip()
        return Answer(text, tuple(self.ids), torch.stack(self.states) if self.states else nothing_0D, self.finished)

    def _text(self, ids: Ids) -> str:
        return str(self.side.tokenizer.decode(ids, skip_special_tokens=False))


def generate(side: LanguageSide, reading: Reading, seen: Seen, started: Read, max_new_tokens: int) -> list[Answer]:
    """Goes on from requests that were read, token by token, until every answer has ended.

    Args:
        max_new_tokens: an answer that is longer is cut.
    """
    output, mask_BL, next_RB = started.output, started.mask_BL, started.next_RB
    writings = [Writing(side) for _ in range(len(output.after_BTD))]
    before_BD = reading.state_of(output)[:, -1]
    for _ in range(max_new_tokens):
        chosen_B = side.head(output.after_BTD[:, -1]).argmax(dim=-1)
        tokens = chosen_B.tolist()
        for writing, token in zip(writings, tokens, strict=True):
            writing.add(token)
        if all(writing.finished for writing in writings):
            break
        if mask_BL is not None:
            mask_BL = torch.nn.functional.pad(mask_BL, (0, 1), value=1)
        output = side.run(seen, chosen_B[:, None], next_RB[..., None], mask_BL, output.cache)
        next_RB = next_RB + 1
        at_BD = reading.state_of(output)[:, -1]
        for row, (writing, token) in enumerate(zip(writings, tokens, strict=True)):
            if not writing.finished and reading.marks(token):
                writing.states.append((at_BD if reading.shift == 0 else before_BD)[row])
        before_BD = at_BD
    return [writing.answer(before_BD[:0]) for writing in writings]
