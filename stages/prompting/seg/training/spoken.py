"""Answers that are forced in training: states of [SEG], and how well each token of the answer is foreseen.

Legend: n [SEG] and [TAK] tokens, D the MLLM's width, T tokens of an answer, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.prompting.seg.checkpoint.language import Ids, Seen
from stages.prompting.seg.checkpoint.model import SegModel
from stages.prompting.seg.checkpoint.passes import groups, read

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Forced:
    """A pass over an answer that was given.

    Attributes:
        states_nD: of its [SEG] and [TAK] tokens, in order.
        logits_TV: float32, at each token of the answer: what the model would have said there.
        ids_T: the tokens of the answer.
    """

    states_nD: "Tensor"
    logits_TV: "Tensor"
    ids_T: "Tensor"


def force(model: SegModel, seen: Seen, requests: Sequence[str], answer: str, *, share: bool) -> list[Forced]:
    """One per request: what it gives for an answer that ends as answers of its chat do.

    Args:
        share: what the requests begin with goes through the decoder once, and its keys and values are kept for all;
            layers that are computed twice keep none.
    """
    import torch

    side = model.side
    whole_answer = answer + side.ends[0]
    asked = [side.ids(seen, request) for request in requests]
    sequences = [side.ids(seen, request, whole_answer) for request in requests]
    begins = [_begin(*pair) for pair in zip(asked, sequences, strict=True)]
    shared, together = groups(side, sequences, min(begins) - 1) if share else (0, [[i] for i in range(len(sequences))])
    answered: list[Forced] = []
    for rows in together:
        whole = read(side, seen, [sequences[row] for row in rows], shared)
        for i, row in enumerate(rows):
            ids, offset, first = sequences[row], whole.offsets[i], begins[row]
            places = [place + model.reading.shift - offset for place, token in enumerate(ids) if model.marks(token)]
            logits_TV = side.head(whole.output.after_BTD[i, first - 1 - offset : -1]).float()
            ids_T = torch.tensor(ids[first:], device=side.device)
            answered.append(Forced(model.state_of(whole.output)[i, places], logits_TV, ids_T))
    return answered


def _begin(asked: Ids, whole: Ids) -> int:
    """Index of an answer's first token."""
    return next((i for i, (a, b) in enumerate(zip(asked, whole, strict=False)) if a != b), len(asked))
