"""Masks of a clip as run lengths, and what is counted between two of them.

Everything a metric needs (areas, intersections, boundaries, matched boundary pixels) comes straight from
the runs: no mask is decoded into an image.

Legend: T frames, H height, W width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.records import Rle

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Clip:
    """T binary masks of one size (see `stages.metrics.turns`).

    Attributes:
        turns: int32, the positions where masks change, frame by frame.
        offset: (T + 1,) int64, where a frame's turns begin.
        length, lines: pixels per scan line, and their number: (H, W) for a scan by columns, (W, H) by rows.
    """

    turns: NDArray[np.int32]
    offset: Counts
    length: int
    lines: int
    # Not functools.cached_property: up to Python 3.11 all instances wait for one lock while one computes.
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.offset) - 1

    @property
    def n_pixels(self) -> int:
        return self.length * self.lines

    @property
    def area(self) -> Counts:
        """(T,) pixels of the object; kept once computed."""
        if "area" not in self._kept:
            self._kept["area"] = intersection(self, self)
        return self._kept["area"]

    @property
    def boundary(self) -> tuple[NDArray[Any], ...]:
        """The boundary of every frame, as `stages.metrics.edges.match` takes it; kept once computed."""
        from stages.metrics import edges

        if "boundary" not in self._kept:
            self._kept["boundary"] = edges.boundaries(self.turns, self.offset, self.length, self.lines)
        return self._kept["boundary"]

    def take(self, frames: Sequence[int]) -> "Clip":
        """Some of the frames."""
        parts = [self.turns[self.offset[t] : self.offset[t + 1]] for t in frames]
        return _joined(parts, self.length, self.lines)


def from_rles(rles: Sequence[Rle | None], size: tuple[int, int]) -> Clip:
    """RLEs of one (height, width), None = empty.

    Raises:
        ValueError: an RLE is of another size, or its counts do not fit its size; nothing is resized.
    """
    from stages.metrics import turns

    height, width = size
    wrong = {tuple(rle["size"]) for rle in rles if rle is not None} - {(height, width)}
    if wrong:
        raise ValueError(f"masks are of size {sorted(wrong)} (height, width), the frames are of size {(height, width)}")
    absent = _absent(height * width)
    texts = [absent if rle is None else rle["counts"].encode() for rle in rles]
    text_offset = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    positions, offset, broken = turns.decode(np.frombuffer(b"".join(texts), np.uint8), text_offset, height * width)
    if broken >= 0:
        raise ValueError(f"frame {broken}: broken RLE: its counts do not fit the size {(height, width)}")
    return Clip(positions, offset, height, width)


def scan(mask_HW: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The turns of a dense mask, row by row."""
    from stages.core.media.run_lengths import row_turns

    return row_turns(mask_HW)


def from_scans(turns_T: Sequence[NDArray[np.int32]], height: int, width: int) -> Clip:
    """A clip of masks that were scanned row by row."""
    return _joined(turns_T, width, height)


def intersection(a: Clip, b: Clip) -> Counts:
    """(T,) pixels in both."""
    from stages.metrics import turns

    _check_alike(a, b)
    return turns.shared_of_clips(a.turns, a.offset, b.turns, b.offset, a.n_pixels)


def without(a: Clip, b: Clip) -> Clip:
    """a's pixels that b lacks."""
    from stages.metrics import turns

    return _combined(a, b, turns.AND_NOT)


def union(a: Clip, b: Clip) -> Clip:
    """The pixels of either."""
    from stages.metrics import turns

    return _combined(a, b, turns.OR)


def empty(n_frames: int, size: tuple[int, int]) -> Clip:
    """Masks without a pixel."""
    return Clip(np.zeros(0, np.int32), np.zeros(n_frames + 1, np.int64), *size)


def matches(pred: Clip, truth: Clip, radius: int) -> Counts:
    """(T, 4): boundary pixels of pred and of truth, and those of each within `radius` of the other's."""
    from stages.metrics import edges

    _check_alike(pred, truth)
    reach = np.array([math.isqrt(radius * radius - d * d) for d in range(radius + 1)], np.int64)
    return edges.match(pred.boundary, truth.boundary, pred.length, reach)


def _combined(a: Clip, b: Clip, table: int) -> Clip:
    from stages.metrics import turns

    _check_alike(a, b)
    positions, offset = turns.combine(a.turns, a.offset, b.turns, b.offset, table)
    return Clip(positions, offset, a.length, a.lines)


def _joined(turns_T: Sequence[NDArray[np.int32]], length: int, lines: int) -> Clip:
    offset = np.cumsum([0, *map(len, turns_T)], dtype=np.int64)
    return Clip(np.concatenate([np.zeros(0, np.int32), *turns_T]), offset, length, lines)


def _check_alike(a: Clip, b: Clip) -> None:
    mine, other = ((len(clip), clip.length, clip.lines) for clip in (a, b))
    if mine != other:
        raise ValueError(f"clips of (frames, line, lines) {mine} and {other} cannot be compared; nothing is resized")


def _absent(n_pixels: int) -> bytes:
    """COCO's compressed counts of an empty mask: one run, five bits per character, the lowest first."""
    text = bytearray()
    while True:
        char, n_pixels = n_pixels & 31, n_pixels >> 5
        more = bool(n_pixels) or bool(char & 16)
        text.append(48 + char + (32 if more else 0))
        if not more:
            return bytes(text)
