"""A video whose sentences are answered, as every output format reads it.

Filled from the cache by whoever answered the sentences, and written by `stages.delivery.write`.

Legend: F frames of the source, T processed frames, H height, W width.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from stages.core.records import Rle


@dataclass(frozen=True)
class Source:
    """A video as a player shows it: upright, with square pixels, at full resolution.

    `stages.delivery.source.open_source` makes it from a file or a folder of pictures.

    Attributes:
        path: the video file, or the folder of pictures.
        pictures: the frames' files in order, where `path` is a folder; () for a video file.
        size: (height, width) in pixels, after any turn.
        ticks: (F,) when each frame is shown, in units of `time_base` after the first frame: 0, then rising.
        end: tick at which the last frame ends.
        time_base: seconds per tick.
        start: time of the first frame in the file's own clock in seconds; its sound is timed by that clock.
    """

    path: Path
    pictures: tuple[Path, ...]
    size: tuple[int, int]
    ticks: tuple[int, ...] = field(repr=False)
    end: int
    time_base: Fraction
    start: float = 0.0

    def __post_init__(self) -> None:
        rising = [*self.ticks, self.end]
        assert self.ticks and self.ticks[0] == 0 and all(a < b for a, b in pairwise(rising)), "ticks rise from 0"

    def __len__(self) -> int:
        return len(self.ticks)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """(F,) a name per frame, without ending: that of its picture, or its index in the video file."""
        stems = tuple(picture.stem for picture in self.pictures)
        return stems if stems and len(set(stems)) == len(stems) else tuple(f"frame_{i:06d}" for i in range(len(self)))

    def seconds(self, index: int) -> float:
        """When frame `index` is shown, in seconds after the first frame; `len(source)` gives the end."""
        return float(([*self.ticks[index : index + 1], self.end][0]) * self.time_base)

    def index_at(self, seconds: float) -> int:
        """The frame whose time is nearest to `seconds` after the first frame; ties go to the earlier one."""
        return _nearest(self.ticks, seconds / float(self.time_base))


@dataclass(frozen=True)
class Object:
    """An object that a sentence refers to.

    Attributes:
        id: 0 or more; the same object has the same id in every sentence of the video, and so one colour.
        name: short and unique among the video's objects ("object 1"); names files and instances.
        score: how sure the answer is, 0 to 1.
        rles_T: one run-length mask per processed frame, None or empty where the object is not visible. All are of one
            size: the source's, or a smaller one that was processed, in the same orientation.
    """

    id: int
    name: str
    score: float
    rles_T: Sequence[Rle | None] = field(repr=False)


@dataclass(frozen=True)
class Sentence:
    """A sentence and what it refers to.

    Attributes:
        text: as the user typed it.
        objects: what was found; () where nothing was.
        note: why nothing is marked, for people; "" where something is.
    """

    text: str
    objects: tuple[Object, ...]
    note: str = ""


@dataclass(frozen=True)
class Segmented:
    """A source, which of its frames were processed, and the answers.

    Attributes:
        source: the video.
        span: the frames of the source that outputs cover (step 1): all of them, or those between two times.
        frames: (T,) index in the source of each processed frame, rising, all in `span`.
        sentences: in the order in which they were asked; their texts differ.

    Raises:
        ValueError: these do not fit together.
    """

    source: Source
    span: range
    frames: tuple[int, ...]
    sentences: tuple[Sentence, ...]

    def __post_init__(self) -> None:
        inside = self.span and self.span.step == 1 and self.span[0] >= 0 and self.span[-1] < len(self.source)
        if not inside or not self.frames or not set(self.frames) <= set(self.span):
            raise ValueError(
                f"{self.source.path}: {len(self.frames)} processed frames and the span {self.span} do not fit the "
                f"{len(self.source)} frames of the source"
            )
        if any(after <= before for before, after in pairwise(self.frames)):
            raise ValueError(f"{self.source.path}: processed frames are given in rising order")
        texts = [sentence.text for sentence in self.sentences]
        if repeated := {text for text in texts if texts.count(text) > 1}:
            raise ValueError(f"{min(repeated)!r}: is asked twice; ask it once")
        for sentence in self.sentences:
            names = [found.name for found in sentence.objects]
            assert len(set(names)) == len(names), "objects of a sentence have names of their own"
            for found in sentence.objects:
                if len(found.rles_T) != len(self.frames):
                    raise ValueError(
                        f"{sentence.text!r}, {found.name}: {len(found.rles_T)} masks for {len(self.frames)} frames"
                    )

    def row_at(self, index: int) -> int:
        """The row (0 to T − 1) of the processed frame that is nearest in time to frame `index` of the source.

        Frames that were not processed are shown with that one's masks; ties go to the earlier one.
        """
        return _nearest(self._processed_ticks, self.source.ticks[index])

    @cached_property
    def _processed_ticks(self) -> tuple[int, ...]:
        return tuple(self.source.ticks[frame] for frame in self.frames)


def _nearest(rising: Sequence[int], value: float) -> int:
    after = bisect_left(rising, value)
    if after == 0:
        return 0
    if after == len(rising):
        return after - 1
    return after if rising[after] - value < value - rising[after - 1] else after - 1
