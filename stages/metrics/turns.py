"""Compiled loops over run lengths: decoding, set operations.

A mask is its *turns*: the ascending positions, in scan order, at which its value changes; it starts with
0, so the object lies in [turns[0], turns[1]), [turns[2], turns[3]) …, the last run reaching the end of the
image where their number is odd. Scan order is column by column, as COCO RLE, or row by row. A clip's turns
are stored one frame after the other in one array, frame t at `offset[t]` … `offset[t + 1]`.

Loops and the functions they call are in one file, because numba notices changed sources per file.
"""

import numpy as np

from stages.core.compiled import compiled

AND_NOT, OR = 0b0100, 0b1110  # truth tables: bit 2a + b is the value of (a, b)
ZERO, ONE, BYTE, TOP = np.uint64(0), np.uint64(1), np.uint64(8), np.uint64(56)
ONES = np.uint64(0x0101010101010101)


@compiled
def decode(text, text_offset, n_pixels):  # type: ignore[no-untyped-def]
    """COCO's compressed counts of T frames → turns, offset, and the first broken frame or −1."""
    n_frames = len(text_offset) - 1
    turns, offset = np.empty(len(text), np.int32), np.zeros(n_frames + 1, np.int64)
    size = 0
    for t in range(n_frames):
        end = _decode_frame(text[text_offset[t] : text_offset[t + 1]], n_pixels, turns, size)
        if end < 0:
            return turns[:0], offset, t
        size = end
        offset[t + 1] = size
    return turns[:size].copy(), offset, -1


@compiled
def _decode_frame(text, n_pixels, turns, size):  # type: ignore[no-untyped-def]
    """Writes one frame's turns from `size` on; returns their end, or −1 where the counts do not fit."""
    first, at, position = size, 0, np.int64(0)
    before, last = np.int64(0), np.int64(0)  # the run two before this one, from which COCO stores a difference
    n_runs = 0
    while at < len(text):
        run, shift, more = np.int64(0), 0, True
        while more:
            if at == len(text) or shift > 55:
                return -1
            char = np.int64(text[at]) - 48
            if char < 0 or char > 63:
                return -1
            run |= (char & 31) << shift
            at, shift, more = at + 1, shift + 5, (char & 32) != 0
            if not more and char & 16:
                run |= np.int64(-1) << shift
        if n_runs > 2:
            run += before
        before, last, n_runs = last, run, n_runs + 1
        position += run
        if run < 0 or position > n_pixels:
            return -1
        if size > first and turns[size - 1] == position:
            size -= 1  # a run of no pixels
        elif position < n_pixels:
            turns[size] = position
            size += 1
    return size if position == n_pixels else -1


@compiled
def count(a, b):  # type: ignore[no-untyped-def]
    """Pixels of both masks and of either, given as bytes of 0 and 1; −1 where there are other bytes."""
    a_words, b_words = a[: len(a) // 8 * 8].view(np.uint64), b[: len(b) // 8 * 8].view(np.uint64)
    both, either, strange = 0, 0, ZERO
    for start in range(0, len(a_words), 255):  # as many ones as a byte holds
        both_bytes, either_bytes = ZERO, ZERO
        a_part, b_part = a_words[start : start + 255], b_words[start : start + 255]
        for i in range(len(a_part)):
            both_bytes += a_part[i] & b_part[i]
            either_bytes += a_part[i] | b_part[i]
            strange |= a_part[i] | b_part[i]
        both, either = both + _total(both_bytes), either + _total(either_bytes)
    for i in range(8 * len(a_words), len(a)):
        both, either = both + (a[i] & b[i]), either + (a[i] | b[i])
        strange |= np.uint64(a[i] | b[i])
    return (both, either) if not strange & ~ONES else (-1, -1)


@compiled
def _total(word):  # type: ignore[no-untyped-def]
    """The sum of a word's bytes."""
    pairs = (word & np.uint64(0x00FF00FF00FF00FF)) + ((word >> BYTE) & np.uint64(0x00FF00FF00FF00FF))
    return np.int64((pairs * np.uint64(0x0001000100010001)) >> np.uint64(48))


@compiled
def shared(a, b, n_pixels):  # type: ignore[no-untyped-def]
    """Pixels of both objects."""
    total, i, j = 0, 0, 0
    while i < len(a) and j < len(b):
        a_end = a[i + 1] if i + 1 < len(a) else n_pixels
        b_end = b[j + 1] if j + 1 < len(b) else n_pixels
        total += max(0, min(a_end, b_end) - max(a[i], b[j]))
        if a_end < b_end:
            i += 2
        else:
            j += 2
    return total


@compiled
def shared_of_clips(a, a_offset, b, b_offset, n_pixels):  # type: ignore[no-untyped-def]
    """(T,) pixels of both objects; a clip with itself gives its areas."""
    n_frames = len(a_offset) - 1
    total = np.empty(n_frames, np.int64)
    for t in range(n_frames):
        total[t] = shared(a[a_offset[t] : a_offset[t + 1]], b[b_offset[t] : b_offset[t + 1]], n_pixels)
    return total


@compiled
def combine(a, a_offset, b, b_offset, table):  # type: ignore[no-untyped-def]
    """Turns and offset of a clip whose pixels are `table` (AND_NOT, OR) of two clips' pixels."""
    n_frames = len(a_offset) - 1
    turns, offset, size = np.empty(len(a) + len(b), np.int32), np.zeros(n_frames + 1, np.int64), 0
    for t in range(n_frames):
        i, i_end, j, j_end = a_offset[t], a_offset[t + 1], b_offset[t], b_offset[t + 1]
        state, value = 0, 0
        while i < i_end or j < j_end:
            at = min(a[i] if i < i_end else 2147483647, b[j] if j < j_end else 2147483647)
            if i < i_end and a[i] == at:
                i, state = i + 1, state ^ 2
            if j < j_end and b[j] == at:
                j, state = j + 1, state ^ 1
            if (table >> state) & 1 != value:
                value ^= 1
                turns[size] = at
                size += 1
        offset[t + 1] = size
    return turns[:size].copy(), offset
