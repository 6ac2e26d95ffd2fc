"""The records that travel between readers and stages, validated when they are made.

Past the cache, code handles these instead of nested dicts. A record never holds pixels: frames are stored
in the frame folder of the cache, masks as COCO RLE (see `stages.core.media.masks`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol, TypedDict

from stages.core.spelling import is_unicode

# Where tracks come from: a prompt source (stages.core.tables.SOURCES), or another system's prediction, which no stage
# makes: see stages/exchange/importing.py.
Source = str
IMPORT: Source = "import"
MAX_NAME = 200  # bytes of a part of an id: file systems take 255, and names get endings
PLAIN = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME}}}")  # an id that is sound at first sight


class TrackId(NamedTuple):
    """A track of a video: the source whose track file holds it, and its row in that file."""

    source: Source
    track: int


class Rle(TypedDict):
    """COCO compressed run-length encoding: `size` is (height, width), column-major counts."""

    size: tuple[int, int]
    counts: str


def check_id(identifier: str, what: str) -> str:
    """Returns `identifier` if it can be used as a relative path below a cache folder.

    Raises:
        ValueError: it is empty, absolute, or tries to leave the root. Ids with "/" (as in ReVOS) are fine.
    """
    if PLAIN.fullmatch(identifier):  # a set has millions of frames
        return identifier
    path = PurePosixPath(identifier)
    unsafe = not identifier or path.is_absolute() or "\\" in identifier or "\0" in identifier
    unsafe = unsafe or not is_unicode(identifier) or any(len(part.encode()) > MAX_NAME for part in path.parts)
    if unsafe or str(path) != identifier or any(part in ("..", ".") or part[0] == "." for part in path.parts):
        raise ValueError(
            f"{what} {identifier[:300]!r} cannot be used as a path: ids are relative, without '..', without "
            f"parts that start with a dot or are longer than {MAX_NAME} bytes; rename it in the data set's index"
        )
    return identifier


@dataclass(frozen=True, slots=True)
class Expression:
    """A sentence about a video.

    Attributes:
        id: the data set's own expression id, unique within its video.
        text: the cleaned caption (lower case, single spaces).
        annotations: keys of the referred annotations; `()` says that nothing is referred to (no
            target), `None` that the truth is unknown.
        raw: the caption as the data set wrote it (drawn on overlays).
        group: what scores are broken down by, in the data set's own words (ReVOS "reasoning", Long-RVOS
            "dynamic", Ref-DAVIS17 the annotator "0" … "3"); "" where the set has no groups. It is not part of
            `expressions_digest`: nothing that a model computes depends on it.
        defect: what is wrong with it, naming the place and the fix; "" for a sound one. The video's other expressions go on.
            Without a word it is not asked: its answer is empty. Without ground truth it is not scored.
    """

    id: str
    text: str
    annotations: tuple[str, ...] | None
    raw: str
    group: str = ""
    defect: str = ""

    def __post_init__(self) -> None:
        check_id(self.id, "expression id")
        if "/" in self.id:
            raise ValueError(f"expression id {self.id!r} holds a '/': it names one folder of the submission")
        if not self.text and not self.defect:
            raise ValueError(f"expression {self.id!r} is empty: give it a caption or delete it from the index")
        if not is_unicode(self.raw):
            raise ValueError(f"expression {self.id!r}: {self.raw!r} holds half a character; write its caption again")

    @property
    def has_word(self) -> bool:
        """Whether there is something to ask for: a letter or digit of any script."""
        return has_word(self.text)


@dataclass(frozen=True, slots=True)
class Video:
    """A video and its expressions.

    Attributes:
        id: unique within its split; may hold "/".
        frames: names of the frames without extension, in order. Empty for a video file whose frames
            are not extracted yet: ask `stages.core.state.frames.open_frames` once they are.
        location: the folder of the frames, or the video file.
        expressions: in the order of their ids in the index.
        statements: more sentences that selectors are trained on, and that nothing else reads: they are neither asked
            nor answered nor scored. They refer to nothing that no expression refers to, and their truth is known.
        cost: what sharding balances (frames, or bytes of a video file).
        defect: why the video cannot be used (an empty expression, a missing file, …), naming the place
            and the fix; "" for a sound one. Every stage fails such a video and goes on with the rest.
        span: of a video file, the seconds after its first frame from which, and before which, frames are taken; None = from
            the start, to the end.
    """

    id: str
    frames: tuple[str, ...]
    location: Path
    expressions: tuple[Expression, ...]
    cost: int
    defect: str = ""
    statements: tuple[Expression, ...] = ()
    span: tuple[float | None, float | None] = (None, None)

    def __post_init__(self) -> None:
        check_id(self.id, "video id")
        ids = [sentence.id for sentence in self.sentences]
        if len(set(ids)) != len(ids):
            raise ValueError(f"video {self.id!r}: expression ids repeat; every id must be unique in its video")
        if len(set(self.frames)) != len(self.frames):
            raise ValueError(f"video {self.id!r}: frame names repeat; every frame must be listed once")

    @property
    def sentences(self) -> tuple[Expression, ...]:
        """The expressions, then the statements: what has text features."""
        return self.expressions + self.statements


# One entry per frame, None where the object is absent.
MaskSequence = Sequence[Rle | None]


class Split(Protocol):
    """What a reader of `stages.datasets` returns for one split of a data set.

    Attributes:
        name: as in the config.
        has_truth: whether `annotations` gives the referred masks.
        protocol: how the set's authors score it: "mevis", "ytvos", "davis17", "revos", "long_rvos", "a2d",
            "jhmdb", or "none".
        as_shown: frames are what a player or viewer shows (upright, square pixels, tone-mapped); otherwise they are
            as stored, since masks fit the stored pixels.
        left_out: what is wrong with single expressions or names of the index, one sentence each; the others are sound.
    """

    name: str
    has_truth: bool
    protocol: str
    as_shown: bool

    @property
    def left_out(self) -> Sequence[str]: ...

    def videos(self) -> list[Video]:
        """All videos, in the order of the index."""
        ...

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Annotation key → one RLE (or None) per frame. Empty where the split has no ground truth."""
        ...

    def void(self, video: Video) -> MaskSequence | None:
        """Pixels that are not scored, one RLE (or None) per frame; None where the set has no such thing."""
        ...

    def scored_frames(self, video: Video) -> Sequence[int] | None:
        """Indices of the frames that are scored, ascending; None = all."""
        ...

    def sources(self, video: Video) -> Sequence[Path]:
        """Files and folders of files that a video's truth is read from, beside the format's index files."""
        ...

    def foreground(self, video: Video) -> MaskSequence | None:
        """All objects of each frame, for ReVOS' robustness score; None where the set has no such masks."""
        ...


def clean_caption(text: str) -> str:
    """Lower case, single spaces: stray spaces exist in the published files."""
    return " ".join(text.lower().split())


def has_word(text: str) -> bool:
    """Whether a caption holds a letter or digit of any script; zero-width spaces are neither."""
    return any(character.isalnum() for character in text)


def caption_defect(text: object) -> str:
    """What is wrong with a caption; "" for a sound one."""
    if not isinstance(text, str):
        return f"its caption is {_short(text)}; give it a text or delete the expression"
    if not is_unicode(text):
        return f"{_short(text)} holds half a character; write its caption again"
    if not clean_caption(text):
        return "has no caption; give it a text or delete the expression"
    return "" if has_word(text) else f"has no word ({_short(text)}); write a sentence or delete the expression"


def _short(value: object) -> str:
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
