"""What is learnt beside the answers: the words of true sentences, and where in a text it shows whether it is true.

Legend: R questions, W words of texts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stages.micro.training.mllm.packing import Packed
from stages.micro.training.mllm.questions import Asked


def judged_words(packed: Packed, texts: Sequence[Asked]) -> tuple[Tensor, Tensor]:
    """(W,) places of the row whose word tells whether a text is true, and whether it is: 1 or 0.

    The last word of each text, and each word of a noun phrase for itself. An answer comes several tokens later and
    depends on the polarity of the question; without this, captions are learnt in a hundred steps and yes or no is not.
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
    return torch.tensor(places), torch.tensor(truths)


def foreseen_words(packed: Packed, chosen_R: Tensor) -> Tensor:
    """(W,) places of the row after which a word of a chosen text comes."""
    spans = zip(packed.start_R[chosen_R].tolist(), packed.said_R[chosen_R].tolist())
    places = [torch.arange(start, start + said - 1) for start, said in spans]
    return torch.cat(places) if places else torch.zeros(0, dtype=torch.int64)
