"""What an MLLM is asked and what it answers: the protocol that every backend implements."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that a model is shown.

    Attributes:
        pixels_HW3: RGB uint8; not to be changed.
    """

    pixels_HW3: NDArray[np.uint8]

    @cached_property
    def digest(self) -> str:
        """16 hex digits over shape and pixels, computed once however many questions show the picture."""
        shape = str(self.pixels_HW3.shape).encode()
        return hashlib.sha256(shape + np.ascontiguousarray(self.pixels_HW3).tobytes()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Question:
    """A question that is answered with yes or no.

    Attributes:
        pictures: in the order the text refers to them; at least one.
        text: comes after the pictures.
    """

    pictures: tuple[Picture, ...]
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
        """One reply per question, in their order.

        Raises:
            ValueError: the model's answer is not finite.
        """
        ...
