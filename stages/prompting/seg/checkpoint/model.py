"""A [SEG] model in native classes: requests about images → states of their [SEG] tokens → SAM2's prompts.

Legend: B requests, T tokens, n [SEG] and [TAK] tokens of an answer, D language width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.prompting.seg.checkpoint.language import Ids, LanguageSide, Output, Seen
from stages.prompting.seg.checkpoint.passes import Read, groups, read

StateOf = Literal["before_norm", "after_norm"]
ObjectScore = Literal["forced", "predicted"]


@dataclass(frozen=True)
class Reading:
    """Which states of the language side are a [SEG]'s.

    Attributes:
        state: of the last layer, before or after its final norm.
        shift: 0 = at the token, −1 = at the one before it.
    """

    state: StateOf
    shift: int


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


@dataclass(frozen=True)
class Forced:
    """A pass over an answer that was given.

    Attributes:
        states_nD: of its [SEG] and [TAK] tokens, in order.
        logits_TV: float32, at each token of the answer: what the model would have said there.
        ids_T: the tokens of the answer.
    """

    states_nD: Tensor
    logits_TV: Tensor
    ids_T: Tensor


class SegModel(nn.Module):
    """Made by `stages.prompting.seg.checkpoint.loading.load_seg_model`. Nothing here disables gradients.

    Attributes:
        side: the language side; `mllm` is its native model.
        text_hidden_fcs: (D) → SAM2's prompt width.
        sam2: the sam2 package's video predictor; its sam_mask_decoder is the tuned one.
        untouched_decoder: SAM2's own mask decoder where the checkpoint holds both, else None.
        object_score: "forced": logits stay as they are where the object score is ≤ 0; "predicted": they become −1024.
        seg_id, tak_id: ids of [SEG] and [TAK]; tak_id None where the tokenizer has no [TAK].
    """

    def __init__(
        self,
        side: LanguageSide,
        text_hidden_fcs: nn.Sequential,
        sam2: Any,
        untouched_decoder: nn.Module | None,
        reading: Reading,
        object_score: ObjectScore,
    ) -> None:
        super().__init__()
        self.side, self.text_hidden_fcs, self.sam2 = side, text_hidden_fcs, sam2
        self.untouched_decoder = untouched_decoder
        self.reading, self.object_score = reading, object_score
        vocabulary = side.tokenizer.get_vocab()
        self.seg_id: int = vocabulary["[SEG]"]
        self.tak_id: int | None = vocabulary.get("[TAK]")

    @property
    def mllm(self) -> Any:
        return self.side.mllm

    @property
    def tokenizer(self) -> Any:
        return self.side.tokenizer

    @property
    def device(self) -> torch.device:
        return self.side.device

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Seen:
        """Runs the vision tower once for images, uint8 (H, W, 3), RGB, of any size."""
        return self.side.encode(images)

    def prompt(self, seen: Seen, text: str) -> Ids:
        """Ids up to where the answer begins. `text` holds `<image>`: see `place_images`."""
        return self.side.ids(seen, text)

    def states(self, seen: Seen, texts: Sequence[str], answers: Sequence[str]) -> list[Tensor]:
        """For each request (n, D): the states of the [SEG] and [TAK] tokens of a given answer, in order.

        Raises:
            ValueError: an answer holds no [SEG].
        """
        sequences = [self.side.ids(seen, text, answer) for text, answer in zip(texts, answers, strict=True)]
        for answer, ids in zip(answers, sequences, strict=True):
            if self.seg_id not in ids:
                raise ValueError(f"the answer {answer!r} holds no [SEG]")
        shared, together = groups(self.side, sequences, min(self._places(ids)[0] for ids in sequences))
        states: list[Tensor] = []
        for rows in together:
            part = [sequences[row] for row in rows]
            whole = read(self.side, seen, part, shared)
            states += [self._states_in(whole, row, ids) for row, ids in enumerate(part)]
        return states

    def forced(self, seen: Seen, text: str, answer: str) -> Forced:
        """A pass over one given answer, for training; `answer` ends with what ends an answer, to learn that too."""
        asked, ids = self.side.ids(seen, text), self.side.ids(seen, text, answer)
        begin = next((i for i, (a, b) in enumerate(zip(asked, ids, strict=False)) if a != b), len(asked))
        whole = read(self.side, seen, [ids], 0)
        logits_TV = self.side.head(whole.output.after_BTD[0, begin - 1 : -1]).float()
        return Forced(self._states_in(whole, 0, ids), logits_TV, torch.tensor(ids[begin:], device=self.device))

    def generate(self, seen: Seen, texts: Sequence[str], max_new_tokens: int) -> list[Answer]:
        """Greedy answers, all requests together.

        Args:
            max_new_tokens: an answer that is longer is cut.
        """
        from stages.prompting.seg.checkpoint.generation import generate

        sequences = [self.side.ids(seen, text) for text in texts]
        shared, together = groups(self.side, sequences, min(map(len, sequences)) - 1)
        answers: list[Answer] = []
        for rows in together:
            started = read(self.side, seen, [sequences[row] for row in rows], shared)
            answers += generate(self, seen, started, max_new_tokens)
        return answers

    def project(self, states_ND: Tensor) -> Tensor:
        """(N, SAM2's prompt width)."""
        projected: Tensor = self.text_hidden_fcs(states_ND.to(next(self.text_hidden_fcs.parameters()).dtype))
        return projected

    def state_of(self, output: Output) -> Tensor:
        """(B, T, D): the states that [SEG] tokens are read from."""
        return output.before_BTD if self.reading.state == "before_norm" else output.after_BTD

    def marks(self, token: int) -> bool:
        """Whether a token's state is a prompt: [SEG] or [TAK]."""
        return token in (self.seg_id, self.tak_id)

    def _places(self, ids: Ids) -> list[int]:
        """Where the states of a sequence's [SEG] and [TAK] tokens are."""
        return [place + self.reading.shift for place, token in enumerate(ids) if self.marks(token)]

    def _states_in(self, whole: Read, row: int, ids: Ids) -> Tensor:
        return self.state_of(whole.output)[row, [place - whole.offsets[row] for place in self._places(ids)]]
