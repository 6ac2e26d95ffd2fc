"""What a format of outputs is: a value in a file of its own in stages/delivery/formats, and a line in its list there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from stages.core.config.sections import Render
from stages.core.table import Table
from stages.delivery.segmented import Segmented, Sentence
from stages.delivery.shots import Shot

# Takes the frames of the span one by one.
Take = Callable[[Shot], None]


@dataclass(frozen=True)
class Order:
    """What one output is about.

    Attributes:
        segmented: the video.
        sentences: those that the output holds: one, or all of them.
        render: how overlays look.
    """

    segmented: Segmented
    sentences: tuple[Sentence, ...]
    render: Render

    @property
    def sentence(self) -> Sentence:
        """The only one."""
        (sentence,) = self.sentences
        return sentence

    @property
    def processed(self) -> Iterator[tuple[int, int]]:
        """(row, index in the source) of every processed frame."""
        return enumerate(self.segmented.frames)


@dataclass(frozen=True)
class Format:
    """A kind of output.

    Attributes:
        name: what `--format` says.
        says: what it is and who opens it, in a few words.
        ending: of its name, behind the sentence's: ".overlay.mp4", or ".masks" for a folder.
        open: (path, order) → a context that gives what takes the frames, and in whose end the output at `path` is whole.
            A folder is there already, and empty.
        folder: whether the output is a folder.
        together: whether all sentences are in one output; otherwise each has one of its own.
        pixels: whether it reads the pictures, not masks and times alone.
        version: raised when the same input gives other bytes.
    """

    name: str
    says: str
    ending: str
    open: Callable[[Path, Order], AbstractContextManager[Take]]
    folder: bool = False
    together: bool = False
    pixels: bool = True
    version: int = 1

    def check(self) -> None:
        """Raises ValueError where the ending is not one."""
        if not self.ending.startswith("."):
            raise ValueError(f"format {self.name!r}: its ending {self.ending!r} starts with a dot")


FORMATS = Table[Format]("format of outputs", "stages.delivery.formats:LISTED")
DEFAULT: Sequence[str] = ("overlay", "masks", "sheet")
