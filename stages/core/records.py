"""The records that travel between readers and stages, validated when they are made.

Past the cache, code handles these instead of nested dicts. A record never holds pixels: frames live in
the frame folder of the cache, masks as COCO RLE (see `stages.core.masks`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, TypedDict

Source = Literal["gt", "grid", "gdino"]
SOURCES: tuple[Source, ...] = ("gt", "grid", "gdino")


class Rle(TypedDict):
    """COCO compressed run-length encoding: `size` is (height, width), column-major counts."""

    size: tuple[int, int]
    counts: str


def check_id(identifier: str, what: str) -> str:
    """Returns `identifier` if it can be used as a relative path below a cache folder.

    Raises:
        ValueError: it is empty, absolute, or tries to leave the root. Ids with "/" (as in ReVOS) are fine.
    """
    path = PurePosixPath(identifier)
    unsafe = not identifier or path.is_absolute() or "\\" in identifier or "\0" in identifier
    if unsafe or str(path) != identifier or any(part in ("..", ".") or part[0] == "." for part in path.parts):
        raise ValueError(
            f"{what} {identifier!r} cannot be used as a path: ids are relative, without '..', without "
            "parts that start with a dot; rename it in the data set's index"
        )
    return identifier


@dataclass(frozen=True, slots=True)
class Expression:
    """A sentence about a video.

    Attributes:
        id: the data set's own expression id, unique within its video.
        text: the cleaned caption (lower case, single blanks).
        annotations: keys of the referred annotations; `()` says that nothing is referred to (no
            target), `None` that the truth is unknown.
        raw: the caption as the data set wrote it (drawn on overlays).
    """

    id: str
    text: str
    annotations: tuple[str, ...] | None
    raw: str

    def __post_init__(self) -> None:
        check_id(self.id, "expression id")
        if "/" in self.id:
            raise ValueError(f"expression id {self.id!r} holds a '/': it names one folder of the submission")
        if not self.text:
            raise ValueError(f"expression {self.id!r} is empty: give it a caption or delete it from the index")


@dataclass(frozen=True, slots=True)
class Video:
    """A video and its expressions.

    Attributes:
        id: unique within its split; may hold "/".
        frames: names of the frames without extension, in order. Empty for a video file whose frames
            are not extracted yet: ask `stages.core.frames.open_frames` once they are.
        location: the folder of the frames, or the video file.
        expressions: in the order of their ids in the index.
        cost: what sharding balances (frames, or bytes of a video file).
        defect: why the video cannot be used (an empty expression, a missing file, …), naming the place
            and the mend; "" for a sound one. Every stage fails such a video and goes on with the rest.
    """

    id: str
    frames: tuple[str, ...]
    location: Path
    expressions: tuple[Expression, ...]
    cost: int
    defect: str = ""

    def __post_init__(self) -> None:
        check_id(self.id, "video id")
        ids = [expression.id for expression in self.expressions]
        if len(set(ids)) != len(ids):
            raise ValueError(f"video {self.id!r}: expression ids repeat; every id must be unique in its video")
        if len(set(self.frames)) != len(self.frames):
            raise ValueError(f"video {self.id!r}: frame names repeat; every frame must be listed once")


# One entry a frame, None where the object is absent.
MaskSequence = Sequence[Rle | None]


class Split(Protocol):
    """What a reader of `stages.datasets` returns for one split of a data set."""

    name: str
    has_truth: bool

    def videos(self) -> list[Video]:
        """All videos, in the order of the index."""
        ...

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Annotation key → one RLE (or None) a frame. Empty where the split has no ground truth."""
        ...


def clean_caption(text: str) -> str:
    """Lower case, single blanks: stray blanks exist in the published files."""
    return " ".join(text.lower().split())
