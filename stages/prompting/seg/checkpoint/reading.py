"""Which states of a language model are prompts: of which tokens, before or after the final norm, at them or before them.

Legend: B sequences, T tokens, D language width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from stages.prompting.seg.checkpoint.language import Output

SEG, TAK = "[SEG]", "[TAK]"
StateOf = Literal["before_norm", "after_norm"]


@dataclass(frozen=True)
class Reading:
    """How [SEG] tokens are read.

    Attributes:
        state: of the last layer, before or after its final norm.
        shift: 0 = at the token, −1 = at the one before it.
        seg_id, tak_id: the tokens that are read; tak_id None where the tokenizer has no [TAK].
    """

    state: StateOf
    shift: int
    seg_id: int
    tak_id: int | None

    @classmethod
    def of(cls, tokenizer: Any, state: StateOf, shift: int) -> "Reading":
        vocabulary = tokenizer.get_vocab()
        return cls(state, shift, vocabulary[SEG], vocabulary.get(TAK))

    def state_of(self, output: Output) -> Tensor:
        """(B, T, D): the states that tokens are read from."""
        return output.before_BTD if self.state == "before_norm" else output.after_BTD

    def marks(self, token: int) -> bool:
        """Whether a token's state is a prompt: [SEG] or [TAK]."""
        return token in (self.seg_id, self.tak_id)

    def places(self, ids: Sequence[int]) -> list[int]:
        """Where in a sequence the states of its [SEG] and [TAK] tokens are."""
        return [place + self.shift for place, token in enumerate(ids) if self.marks(token)]
