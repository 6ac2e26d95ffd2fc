"""A [SEG] model in native classes: requests about images → states of their [SEG] tokens → SAM2's prompts.

Legend: B requests, T tokens, n [SEG] and [TAK] tokens of an answer, D language width, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.prompting.seg.checkpoint.generation import Answer, generate
from stages.prompting.seg.checkpoint.language import Ids, LanguageSide, Output, Seen
from stages.prompting.seg.checkpoint.passes import Read, groups, read
from stages.prompting.seg.checkpoint.reading import Reading

ObjectScore = Literal["forced", "predicted"]


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
        self.seg_id, self.tak_id = reading.seg_id, reading.tak_id

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
        shared, together = groups(self.side, sequences, min(self.reading.places(ids)[0] for ids in sequences))
        states: list[Tensor] = []
        for rows in together:
            part = [sequences[row] for row in rows]
            whole = read(self.side, seen, part, shared)
            states += [self._states_in(whole, row, ids) for row, ids in enumerate(part)]
        return states

    def generate(self, seen: Seen, texts: Sequence[str], max_new_tokens: int) -> list[Answer]:
        """Greedy answers, all requests together.

        Args:
            max_new_tokens: an answer that is longer is cut.
        """
        sequences = [self.side.ids(seen, text) for text in texts]
        shared, together = groups(self.side, sequences, min(map(len, sequences)) - 1)
        answers: list[Answer] = []
        for rows in together:
            started = read(self.side, seen, [sequences[row] for row in rows], shared)
            answers += generate(self.side, self.reading, seen, started, max_new_tokens)
        return answers

    def project(self, states_ND: Tensor) -> Tensor:
        """(N, SAM2's prompt width)."""
        projected: Tensor = self.text_hidden_fcs(states_ND.to(next(self.text_hidden_fcs.parameters()).dtype))
        return projected

    def state_of(self, output: Output) -> Tensor:
        """(B, T, D): the states that [SEG] tokens are read from."""
        return self.reading.state_of(output)

    def marks(self, token: int) -> bool:
        """Whether a token's state is a prompt: [SEG] or [TAK]."""
        return self.reading.marks(token)

    def _states_in(self, whole: Read, row: int, ids: Ids) -> Tensor:
        return self.state_of(whole.output)[row, [place - whole.offsets[row] for place in self.reading.places(ids)]]
