"""Compiled loops over boundaries: from run lengths to DAVIS' boundary, and the search inside the disk.

The image is scanned in `lines` lines of `length` pixels: columns or rows. Its boundary is, per line,
a list of ranges [low, high) of pixels; `ptr` says where a line's ranges begin. Nothing here ever holds an
image: the cost follows the length of the boundary. (See `stages.metrics.turns` for *turns* and *offset*.)
"""

import numpy as np

from stages.core.compiled import compiled

ZERO, ONES = np.uint64(0), np.uint64(0x0101010101010101)


@compiled
def boundaries(turns, offset, length, lines):  # type: ignore[no-untyped-def]
    """The boundary of every frame: low, high, ptr, ptr_offset (T+1), first_line (T).

    A pixel is on it when it, the next pixel of its line, and their neighbours in the next line are not all
    equal; the last line and the last pixel of a line are their own neighbours: DAVIS' map, edges and corner included.
    """
    n_frames = len(offset) - 1
    ptr_offset, first_line = np.zeros(n_frames + 1, np.int64), np.zeros(n_frames, np.int64)
    for t in range(n_frames):
        start, end = offset[t], offset[t + 1]
        first_line[t] = max(turns[start] // length - 1, 0) if end > start else 0
        n_lines = turns[end - 1] // length + 1 - first_line[t] if end > start else 0
        ptr_offset[t + 1] = ptr_offset[t] + n_lines + 1
    # A line's sweep stops at the turns of two lines and at the line's end, with at most one range each time.
    room, size, n_ptr = 2 * len(turns) + ptr_offset[-1], 0, 0
    low, high, ptr = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(ptr_offset[-1], np.int64)
    for t in range(n_frames):
        i = offset[t]
        for k in range(ptr_offset[t + 1] - ptr_offset[t] - 1):
            x = first_line[t] + k
            ptr[n_ptr], n_ptr = size, n_ptr + 1
            while i < offset[t + 1] and turns[i] <= x * length:
                i += 1
            size = _line(turns, i, offset[t], offset[t + 1], x, length, lines, low, high, size)
        ptr[n_ptr], n_ptr = size, n_ptr + 1
    return low[:size].copy(), high[:size].copy(), ptr, ptr_offset, first_line


@compiled
def _line(turns, i, start, end, x, length, lines, low, high, size):  # type: ignore[no-untyped-def]
    """Appends the boundary of line x; `i` is the first turn after the line's first pixel."""
    base, first = x * length, size
    step = length if x < lines - 1 else 0  # the last line is its own neighbour
    j = i
    while j < end and turns[j] <= base + step:
        j += 1
    here, there, at = (i - start) & 1, (j - start) & 1, 0
    while at < length:
        turn_here = min(turns[i] - base, length) if i < end else length
        turn_there = min(turns[j] - base - step, length) if j < end else length
        stop = min(turn_here, turn_there)
        begin = at if here != there else stop - 1
        if here != there or stop < length:
            if size > first and high[size - 1] >= begin:
                high[size - 1] = stop
            else:
                low[size], high[size] = begin, stop
                size += 1
        if stop < length and turn_here == stop:
            i, here = i + 1, here ^ 1
        if stop < length and turn_there == stop:
            j, there = j + 1, there ^ 1
        at = stop
    return size


@compiled
def edge_length(low, high, ptr):  # type: ignore[no-untyped-def]
    """Pixels of a frame's boundary."""
    total = 0
    for k in range(ptr[0], ptr[-1]):
        total += high[k] - low[k]
    return total


@compiled
def _fill(bits, low, high, value):  # type: ignore[no-untyped-def]
    """Sets (value 1) or clears (value 0) the bits low … high − 1."""
    for word in range(low >> 6, ((high - 1) >> 6) + 1):
        mask = ~ZERO
        if word == low >> 6:
            mask &= ~ZERO << np.uint64(low & 63)
        if word == (high - 1) >> 6:
            mask &= ~ZERO >> np.uint64(63 - ((high - 1) & 63))
        bits[word] = bits[word] | mask if value else bits[word] & ~mask


@compiled
def _count(bits, first, last):  # type: ignore[no-untyped-def]
    """Set bits of the words first … last."""
    total = np.uint64(0)
    for word in range(first, last + 1):
        v = bits[word]
        v = v - ((v >> np.uint64(1)) & np.uint64(0x5555555555555555))
        v = (v & np.uint64(0x3333333333333333)) + ((v >> np.uint64(2)) & np.uint64(0x3333333333333333))
        v = (v + (v >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
        total += (v * ONES) >> np.uint64(56)
    return np.int64(total)


@compiled
def unmatched(low, high, ptr, first, to_low, to_high, to_ptr, to_first, reach, bits):  # type: ignore[no-untyped-def]
    """Pixels of one boundary that are farther than the disk's radius from every pixel of the other.

    A line's pixels are bits; the nearest lines of the other boundary come first, each range of them clears
    the bits within its reach, and a line is finished when all its bits are cleared.

    Args:
        reach: (radius + 1,) the disk's half width ⌊√(r² − d²)⌋ in the line at distance d.
        bits: work space, one bit per pixel of a line.
    """
    total, radius, to_lines, hint = 0, len(reach) - 1, len(to_ptr) - 1, 0
    for line in range(len(ptr) - 1):
        start, end = ptr[line], ptr[line + 1]
        if start == end:
            continue
        lowest, highest = low[start], high[end - 1]
        first_word, last_word = lowest >> 6, (highest - 1) >> 6
        bits[first_word : last_word + 1] = ZERO
        for k in range(start, end):
            _fill(bits, low[k], high[k], 1)
        left = True
        for n in range(-1, 2 * radius + 1):  # the offset that finished the previous line, then 0, 1, −1, 2, −2, …
            step = hint if n < 0 else ((n + 1) >> 1 if n & 1 else -(n >> 1))
            to_line = first + line + step - to_first
            if to_line < 0 or to_line >= to_lines:
                continue
            touched, wide = False, reach[abs(step)]
            for k in range(to_ptr[to_line], to_ptr[to_line + 1]):
                bottom, top = max(to_low[k] - wide, lowest), min(to_high[k] + wide, highest)
                if bottom < top:
                    _fill(bits, bottom, top, 0)
                    touched = True
            if touched:
                left = False
                for word in range(first_word, last_word + 1):
                    left = left or bits[word] != ZERO
                if not left:
                    hint = step
                    break
        if left:
            total += _count(bits, first_word, last_word)
    return total


@compiled
def match(pred, truth, length, reach):  # type: ignore[no-untyped-def]
    """(T, 4) of every frame: pixels of both boundaries, and how many of each are within reach of the other.

    Args:
        pred, truth: what `boundaries` gave.
    """
    n_frames = len(pred[4])
    counts, bits = np.zeros((n_frames, 4), np.int64), np.zeros((length >> 6) + 1, np.uint64)
    for t in range(n_frames):
        a = pred[2][pred[3][t] : pred[3][t + 1]]
        b = truth[2][truth[3][t] : truth[3][t + 1]]
        counts[t, 0] = edge_length(pred[0], pred[1], a)
        counts[t, 1] = edge_length(truth[0], truth[1], b)
        if counts[t, 0] and counts[t, 1]:
            far = unmatched(pred[0], pred[1], a, pred[4][t], truth[0], truth[1], b, truth[4][t], reach, bits)
            counts[t, 2] = counts[t, 0] - far
            far = unmatched(truth[0], truth[1], b, truth[4][t], pred[0], pred[1], a, pred[4][t], reach, bits)
            counts[t, 3] = counts[t, 1] - far
    return counts
