"""Runs column by column, as COCO's masks have them, to runs of PNG's scanlines, in time proportional to runs and rows.

A row changes where a column differs from the one before it: what two neighbouring columns do not share is all that is looked at.

Legend: R runs of the columns, S runs of the scanlines, E places where a row changes, H × W an image.
"""

import numpy as np
from numpy.typing import NDArray

from stages.core.compiled import compiled

Bytes = NDArray[np.uint8]
Int = NDArray[np.int64]


def scanlines(values_R: Bytes, ends_R: Int, size: tuple[int, int]) -> tuple[Bytes, Int]:
    """An image's scanlines, each behind the byte of filter 0, as values (S,) and how often each stands there (S,).

    Args:
        ends_R: where runs end, column by column, the last of them at H · W; none is empty.
    """
    height, width = size
    starts_H, columns_E, values_E = _changes(values_R, ends_R, height, width)
    return _lines(starts_H, columns_E, values_E, width)


@compiled
def _changes(values_R: Bytes, ends_R: Int, height: int, width: int) -> tuple[Int, Int, Bytes]:
    """Where rows change: (H + 1) the first change of each row, (E,) columns, (E,) what is there from then on."""
    counts_H = np.ones(height, np.int64)  # what a row begins with
    _sweep(values_R, ends_R, height, width, counts_H, counts_H, np.empty(0, np.int64), np.empty(0, np.uint8))
    starts_H = np.zeros(height + 1, np.int64)
    starts_H[1:] = np.cumsum(counts_H)
    columns_E, values_E = np.zeros(starts_H[height], np.int64), np.zeros(starts_H[height], np.uint8)
    run = 0
    for y in range(height):
        while ends_R[run] <= y:
            run += 1
        values_E[starts_H[y]] = values_R[run]
    _sweep(values_R, ends_R, height, width, counts_H, starts_H[:height] + 1, columns_E, values_E)
    return starts_H, columns_E, values_E


@compiled
def _sweep(
    values_R: Bytes, ends_R: Int, height: int, width: int, counts_H: Int, places_H: Int, columns_E: Int, values_E: Bytes
) -> None:
    """Counts the changes of each row, or writes them down at its places where there is room for them."""
    writes = len(columns_E) > 0
    left = right = 0
    for x in range(1, width):
        before, here = (x - 1) * height, x * height
        while ends_R[left] <= before:
            left += 1
        while ends_R[right] <= here:
            right += 1
        y = 0
        while y < height:
            stop = min(ends_R[left] - before, ends_R[right] - here, height)
            if values_R[left] != values_R[right]:
                for row in range(y, stop):
                    if writes:
                        columns_E[places_H[row]], values_E[places_H[row]] = x, values_R[right]
                        places_H[row] += 1
                    else:
                        counts_H[row] += 1
            y = stop
            if y < height:
                left += ends_R[left] - before == y
                right += ends_R[right] - here == y


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
