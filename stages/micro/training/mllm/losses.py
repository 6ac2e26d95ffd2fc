"""What is learnt beside the answers: the words of true sentences, and where in a text it shows whether it is true.

Legend: R questions, L tokens, D channels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stages.micro.training.mllm.packing import Packed
from stages.micro.training.mllm.questions import Asked


def judged_loss(head: Any, packed: Packed, states_LD: Tensor, texts: Sequence[Asked]) -> Tensor:
    """How well the last word of each text tells whether it is true, and each word of a noun phrase for itself.

    An answer comes several tokens later and depends on the polarity of the question; without this, captions are learnt
    in a hundred steps and yes or no is not.
    """
    places: list[int] = []
    truths: list[float] = []
    for one, start, said in zip(texts, packed.start_R.tolist(), packed.said_R.tolist(), strict=True):
        if one.wrong is None:
            places.append(start + said - 1)
            truths.append(float(one.true))
        else:
            places += range(start + 1, start + said)
            truths += [float(i != one.wrong) for i in range(1, said)]
    odds = head(states_LD[torch.tensor(places)])[:, 0]
    return functional.binary_cross_entropy_with_logits(odds, torch.tensor(truths))


def wording_loss(writer: Any, packed: Packed, states_LD: Tensor, chosen_R: Tensor) -> Tensor:
    """How well the words of the chosen texts are foreseen; `writer` gives logits of the next token."""
    places = [
        torch.arange(int(start), int(start + said) - 1)
        for start, said in zip(packed.start_R[chosen_R], packed.said_R[chosen_R])
    ]
    if not places:
        return states_LD.sum() * 0
    at = torch.cat(places)
    return functional.cross_entropy(writer(states_LD[at]), packed.ids_L[at + 1])
