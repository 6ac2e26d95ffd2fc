"""The frames of a source with the masks to be shown on them, one after the other.

Legend: H height, W width, 3 RGB, F frames of the source, T processed frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.media.drawing import resize_mask
from stages.core.records import Rle
from stages.delivery.segmented import Object, Segmented, Sentence
from stages.delivery.source import read_frames

Image3 = NDArray[np.uint8]
Bool = NDArray[np.bool_]


class MaskReader:
    """Masks at the source's resolution; those of one processed frame are kept until another one is asked for."""

    def __init__(self, segmented: Segmented) -> None:
        self._size = segmented.source.size
        self._row = -1
        self._kept: dict[int, Bool] = {}

    def mask(self, found: Object, row: int) -> Bool:
        """(H, W) of an object in processed frame `row`; not to be written to."""
        if row != self._row:
            self._row, self._kept = row, {}
        if id(found) not in self._kept:
            self._kept[id(found)] = at_size(found.rles_T[row], self._size)
        return self._kept[id(found)]

    def union(self, sentence: Sentence, row: int) -> Bool:
        """(H, W), all objects of a sentence."""
        union_HW = np.zeros(self._size, bool)
        for found in sentence.objects:
            union_HW |= self.mask(found, row)
        return union_HW


def at_size(rle: Rle | None, size: tuple[int, int]) -> Bool:
    """(H, W) of a mask at the size (height, width); None is an empty one."""
    return np.zeros(size, bool) if rle is None else resize_mask(masks.decode(rle), size)


@dataclass(frozen=True)
class Shot:
    """A frame of the source.

    Attributes:
        index: in the source.
        start: when it is shown, in ticks of the source after the first frame of the span.
        end: when the next one is.
        row: of the processed frame whose masks it shows, 0 to T − 1.
        processed: whether that is this very frame.
        pixels: (H, W, 3) RGB uint8; None where no format needs them.
        reader: gives the masks.
    """

    index: int
    start: int
    end: int
    row: int
    processed: bool
    pixels: Image3 | None
    reader: MaskReader

    @property
    def image_HW3(self) -> Image3:
        assert self.pixels is not None, "a format that reads pixels says so"
        return self.pixels

    def mask(self, found: Object) -> Bool:
        """(H, W), at the source's resolution."""
        return self.reader.mask(found, self.row)

    def union(self, sentence: Sentence) -> Bool:
        return self.reader.union(sentence, self.row)


def shots(segmented: Segmented, *, pixels: bool) -> Iterator[Shot]:
    """Every frame of the span in order.

    Args:
        pixels: read the pictures too.

    Raises:
        ValueError: a picture cannot be read.
    """
    source, span, reader = segmented.source, segmented.span, MaskReader(segmented)
    ticks = [*source.ticks, source.end]
    pictures = read_frames(source, span) if pixels else ((index, None) for index in span)
    for index, image_HW3 in pictures:
        row = segmented.row_at(index)
        start, end = ticks[index] - ticks[span.start], ticks[index + 1] - ticks[span.start]
        yield Shot(index, start, end, row, segmented.frames[row] == index, image_HW3, reader)
