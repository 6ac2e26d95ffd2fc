"""Compiled loops between pixels, runs of rows and runs of columns.

*Turns* are the ascending positions at which a mask changes; it begins with 0. An image is looked at once, in the order in which its
bytes are stored; from rows to columns goes what two neighbouring rows do not share, and nothing else: time proportional to runs and
rows, where a transposed copy takes ten times that of everything else.

Legend: R runs of the columns of an image, E places where its rows change, H × W its size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.compiled import compiled

Bytes = NDArray[np.uint8]
Int = NDArray[np.int64]

ZERO, ONE, BYTE, TOP = np.uint64(0), np.uint64(1), np.uint64(8), np.uint64(56)
ONES = np.uint64(0x0101010101010101)
DIGITS = 7  # base-32 digits of a run: 35 bits hold a difference of two runs of 32 bits
STRANGE, CUT, LONG = 1, 2, 3  # what is wrong with counts


@compiled
def grown(array, size):  # type: ignore[no-untyped-def]
    """The same values with room for twice as many."""
    bigger = np.empty(2 * len(array) + 16, array.dtype)
    bigger[:size] = array[:size]
    return bigger


@compiled
def scan(pixels):  # type: ignore[no-untyped-def]
    """Turns of a mask given as bytes of 0 and 1 in scan order, 64 pixels at a time; None for any other byte."""
    words = pixels[: len(pixels) // 64 * 64].view(np.uint64).reshape(-1, 8)
    turns, size, strange, last = np.empty(256, np.int32), 0, ZERO, ZERO
    block = _unlike(words, 0, ZERO)
    while block < len(words):
        if size + 65 > len(turns):
            turns = grown(turns, size)
        for k in range(8):
            word = words[block, k]
            change = (word ^ (word << BYTE | last)) & ONES  # a byte is 1 where its pixel is not as the one before
            last, strange = word >> TOP, strange | word
            while change:
                lowest = change & (~change + ONE)
                power = (np.float64(lowest).view(np.int64) >> 52) - 1023  # of two: the exponent
                turns[size] = 64 * block + 8 * k + (power >> 3)
                size += 1
                change ^= lowest
        block = _unlike(words, block + 1, ONES if last else ZERO)
    if size + 65 > len(turns):
        turns = grown(turns, size)
    for at in range(64 * len(words), len(pixels)):
        pixel = np.uint64(pixels[at])
        if pixel != last:
            turns[size] = at
            size += 1
        last, strange = pixel, strange | pixel
    return None if strange & ~ONES else turns[:size]


@compiled
def _unlike(words, start, same):  # type: ignore[no-untyped-def]
    """The first block from `start` on in which a word is not `same`, or the number of blocks."""
    for block in range(start, len(words)):
        different = ZERO
        for k in range(8):
            different |= words[block, k] ^ same
        if different:
            return block
    return len(words)


@compiled
def changes(values_R: Bytes, ends_R: Int, height: int, width: int) -> tuple[Int, Int, Bytes]:
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


def row_turns(mask_HW: NDArray[Any]) -> NDArray[np.int32]:
    """The turns of a dense bool mask (H, W), row by row."""
    pixels = np.ascontiguousarray(mask_HW).reshape(-1).view(np.uint8)
    turns: NDArray[np.int32] | None = scan(pixels)
    return scan((pixels != 0).view(np.uint8)) if turns is None else turns  # bytes of a bool may hold anything


@compiled
def turned(turns, height, width):  # type: ignore[no-untyped-def]
    """Turns row by row → turns column by column."""
    if len(turns) == 0:
        return turns
    n = len(turns) - (turns[0] == 0)  # runs before the last
    ends = np.empty(n + 1, np.int64)
    ends[:n] = turns[len(turns) - n :]
    ends[n] = height * width
    values = np.empty(n + 1, np.uint8)
    for r in range(n + 1):
        values[r] = (r + (turns[0] == 0)) % 2
    starts, places, there = changes(values, ends, width, height)  # a row is a column of the image on its side
    result, size, state = np.empty(len(places), np.int32), 0, 0
    for x in range(width):
        for e in range(starts[x], starts[x + 1]):
            if there[e] != state:
                state = there[e]
                result[size] = x * height + places[e]
                size += 1
    return result[:size]


@compiled
def coco_text(turns, n_pixels):  # type: ignore[no-untyped-def]
    """Turns column by column as COCO's compressed counts (rleToString of maskApi.c), ASCII.

    A run is a number of base-32 digits, lowest first, from the fourth on the difference to the run before the last.
    """
    text, size = np.empty(7 * len(turns) + 7, np.uint8), 0
    start, before, last = 0, 0, 0
    for r in range(len(turns) + 1):
        stop = turns[r] if r < len(turns) else n_pixels
        run = stop - start
        value = run - before if r > 2 else run
        start, before, last = stop, last, run
        more = True
        while more:
            digit = value & 31
            value >>= 5
            more = value != -1 if digit & 16 else value != 0
            text[size] = 48 + digit + 32 * more
            size += 1
    return text[:size]


@compiled
def coco_runs(text):  # type: ignore[no-untyped-def]
    """COCO's compressed counts as lengths of runs (rleFrString of maskApi.c), and what is wrong with them.

    A run is a number of base-32 digits, lowest first, in characters from "0": bit 5 says that another digit
    follows, bit 4 of the last digit is the sign. From the fourth run on it is the difference to the run before the last.

    Returns:
        The lengths, and 0, or one of `STRANGE`, `CUT` and `LONG`.
    """
    lengths, size = np.empty(len(text), np.int64), 0
    for code in text:
        if code < 48 or code > 48 + 63:
            return lengths[:0], STRANGE
    if len(text) == 0:
        return lengths, STRANGE
    if (text[-1] - 48) & 32:
        return lengths[:0], CUT
    value, digits = 0, 0
    for code in text:
        if digits == DIGITS:
            return lengths[:0], LONG
        digit = int(code) - 48
        value |= (digit & 31) << (5 * digits)
        digits += 1
        if digit & 32:
            continue
        value -= (1 << (5 * digits)) if digit & 16 else 0
        lengths[size] = value + lengths[size - 2] if size > 2 else value
        size += 1
        value, digits = 0, 0
    return lengths[:size], 0
