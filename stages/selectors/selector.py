"""The interface of a trained selector."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from stages.core.config.selector_sections import Detector
    from stages.selectors.batch import Sample

Array = TypeVar("Array", NDArray[Any], "torch.Tensor")


class Selector(Protocol):
    """A trained selector.

    `threshold` is the probability above which it recommends to choose a track. Legend: N tracks, T frames, C channels of an object token, W words, D text width.
    """

    @property
    def threshold(self) -> float: ...

    @property
    def detector(self) -> "Detector | None":
        """The detector whose scores it sees; None = of none."""
        ...

    def score(self, tokens_NTC: Array, words_WD: Array) -> Array:
        """One float32 logit per track, (N,), for one expression; no tracks give no logits.

        Tokens and words are both numpy arrays or both torch tensors; the logits are of the same kind, on the
        tokens' device.
        """
        ...

    def score_all(self, samples: Sequence["Sample"], tokens_per_pass: int) -> list[NDArray[np.float32]]:
        """`score` of many expressions, in batches of at most that many padded tokens (`run.batches.tokens`)."""
        ...
