"""What is asked of an MLLM and what it answers: the protocol that every backend fulfils."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Question:
    """A question that is answered with yes or no.

    Attributes:
        images: (H, W, 3) RGB uint8 each, in the order the text refers to them; at least one.
        text: comes after the images.
    """

    images: tuple[NDArray[np.uint8], ...]
    text: str


@dataclass(frozen=True)
class Reply:
    """An answer as a number.

    Attributes:
        log_odds: of yes against no, in nats.
        mass: probability that the answer begins with yes or no at all; low = off format.
    """

    log_odds: float
    mass: float


class Judge(Protocol):
    """A model that answers questions; the same question gives the same reply."""

    def log_odds(self, questions: Sequence[Question]) -> list[Reply]:
        """One reply a question, in their order.

        Raises:
            ValueError: the model gave no finite number.
        """
        ...
