"""Runs column by column, as COCO's masks have them, to runs of PNG's scanlines, in time proportional to runs and rows.

Legend: R runs of the columns, S runs of the scanlines, E places where a row changes, H × W an image.
"""

import numpy as np
from numpy.typing import NDArray

from stages.core.compiled import compiled
from stages.core.media.run_lengths import changes

Bytes = NDArray[np.uint8]
Int = NDArray[np.int64]


def scanlines(values_R: Bytes, ends_R: Int, size: tuple[int, int]) -> tuple[Bytes, Int]:
    """An image's scanlines, each behind the byte of filter 0, as values (S,) and how often each stands there (S,).

    Args:
        ends_R: where runs end, column by column, the last of them at H · W; none is empty.
    """
    height, width = size
    starts_H, columns_E, values_E = changes(values_R, ends_R, height, width)
    return _lines(starts_H, columns_E, values_E, width)


@compiled
def _lines(starts_H: Int, columns_E: Int, values_E: Bytes, width: int) -> tuple[Bytes, Int]:
    height = len(starts_H) - 1
    values, lengths = np.empty(len(columns_E) + height, np.uint8), np.empty(len(columns_E) + height, np.int64)
    n = 0
    for y in range(height):
        n = _add(values, lengths, n, 0, 1)
        for e in range(starts_H[y], starts_H[y + 1]):
            stop = columns_E[e + 1] if e + 1 < starts_H[y + 1] else width
            n = _add(values, lengths, n, values_E[e], stop - columns_E[e])
    return values[:n], lengths[:n]


@compiled
def _add(values: Bytes, lengths: Int, n: int, value: int, length: int) -> int:
    if n and values[n - 1] == value:
        lengths[n - 1] += length
        return n
    values[n], lengths[n] = value, length
    return n + 1
