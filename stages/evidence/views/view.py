"""What a view is: a way to show a model the candidates of a video."""

from collections.abc import Sequence
from typing import Protocol

from stages.evidence.questions import Parts
from stages.evidence.views.scene import Scene


class View(Protocol):
    """Shows candidates in pictures and words; a frozen dataclass of its settings.

    Every word begins with a blank, so that a part can follow any other.

    Attributes:
        in_context: whether the blocks of all candidates are shown before every question (they serve comparison, and
            are encoded once per video); otherwise a question shows the block of its own candidate alone.
    """

    @property
    def in_context(self) -> bool: ...

    def shared(self, scene: Scene, frames: Sequence[int]) -> Parts:
        """What is shown once, before the blocks of the candidates.

        Args:
            frames: indices of the frames that views with whole frames show.
        """
        ...

    def block(self, scene: Scene, n: int, number: int, frames: Sequence[int]) -> Parts:
        """What is shown of candidate `n` of the scene, which carries `number`."""
        ...
