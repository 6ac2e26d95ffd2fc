"""Reads a zlib stream (RFC 1950, RFC 1951) of an image's scanlines as deflate.py writes it, in time proportional to its codes.

Literals and matches of distance 1 are all that is known here, in blocks of dynamic or fixed codes, so that a run is a value and
a number, and no pixel is in memory. All else is left to a real decoder, as is all that a decoder would refuse.

Legend: S symbols.
"""

import numpy as np
from numpy.typing import NDArray

from stages.core.compiled import compiled
from stages.exchange.deflate import END, FIRST, FIXED, MODULUS, MORE, MOST_BITS, ORDER, SYMBOLS

Bytes = NDArray[np.uint8]
Int = NDArray[np.int64]

FIXED_DISTANCES = np.full(32, 5)
MOST_DISTANCES = 30  # that a table may describe
BEHIND = 16  # bytes that must follow a stream: what is read before it is known to be beyond the end


@compiled
def _number(data: Bytes, at: int, bits: int) -> int:
    """The number whose lowest bit is bit `at`."""
    value = 0
    for k in range(at, at + bits):
        value |= ((data[k >> 3] >> (k & 7)) & 1) << (k - at)
    return value


@compiled
def _tree(bits_S: Int) -> tuple[Int, Int, bool]:
    """How many codes have each number of bits; symbols in the order of their codes; whether codes and bits fit exactly."""
    counts = np.zeros(MOST_BITS + 1, np.int64)
    for bits in bits_S:
        counts[bits] += 1
    room = 1
    offsets = np.zeros(MOST_BITS + 2, np.int64)
    for bits in range(1, MOST_BITS + 1):
        room = 2 * room - counts[bits]
        if room < 0:
            return counts, offsets, False
        offsets[bits + 1] = offsets[bits] + counts[bits]
    symbols = np.zeros(len(bits_S), np.int64)
    for symbol in range(len(bits_S)):
        bits = bits_S[symbol]
        if bits:
            symbols[offsets[bits]] = symbol
            offsets[bits] += 1
    return counts, symbols, room == 0


@compiled
def _symbol(data: Bytes, at: int, counts: Int, symbols: Int) -> tuple[int, int]:
    """The symbol whose code begins at bit `at`, and where the next one begins."""
    code = first = index = 0
    for bits in range(1, MOST_BITS + 1):
        code |= (data[at >> 3] >> (at & 7)) & 1
        at += 1
        if code - first < counts[bits]:
            return symbols[index + code - first], at
        index += counts[bits]
        first = (first + counts[bits]) << 1
        code <<= 1
    return 0, at  # not reached: codes fit exactly


@compiled
def _tables(data: Bytes, at: int, end: int) -> tuple[Int, Int, int]:
    """Bits of the codes of a dynamic block, and where its first code begins; 0 where the tables are not sound."""
    none = np.zeros(0, np.int64)
    n_symbols, n_distances, n_own = (
        257 + _number(data, at, 5),
        1 + _number(data, at + 5, 5),
        4 + _number(data, at + 10, 4),
    )
    at += 14
    own_bits = np.zeros(len(ORDER), np.int64)
    for k in range(n_own):
        own_bits[ORDER[k]] = _number(data, at, 3)
        at += 3
    counts, symbols, fits = _tree(own_bits)
    if not fits or n_symbols > SYMBOLS or n_distances > MOST_DISTANCES:
        return none, none, 0
    bits_S = np.zeros(n_symbols + n_distances, np.int64)
    k = 0
    while k < len(bits_S):
        if at > end:
            return none, none, 0
        symbol, at = _symbol(data, at, counts, symbols)
        value, times = symbol, 1
        if symbol == 16:
            if k == 0:
                return none, none, 0
            value, times, at = bits_S[k - 1], 3 + _number(data, at, 2), at + 2
        elif symbol == 17:
            value, times, at = 0, 3 + _number(data, at, 3), at + 3
        elif symbol == 18:
            value, times, at = 0, 11 + _number(data, at, 7), at + 7
        if k + times > len(bits_S):
            return none, none, 0
        bits_S[k : k + times] = value
        k += times
    return bits_S[:n_symbols], bits_S[n_symbols:], at if bits_S[END] else 0


@compiled
def _covers(place: int, length: int, step: int) -> bool:
    """Whether a multiple of `step` lies in the `length` places from `place` on."""
    return (place + step - 1) // step * step < place + length


@compiled
def shown(data: Bytes, start: int, stop: int, height: int, width: int) -> NDArray[np.bool_]:
    """Which values (256,) an image's scanlines have, 0 or not, each behind the byte of filter 0; (0,) where it cannot be said.

    Args:
        data: holds the stream at `start` … `stop`, and `BEHIND` more bytes behind it.
    """
    unknown, used = np.zeros(0, np.bool_), np.zeros(256, np.bool_)
    if stop - start < 6 or data[start] != 0x78 or (256 * data[start] + data[start + 1]) % 31 or data[start + 1] & 32:
        return unknown
    at, end, total = 8 * (start + 2), 8 * (stop - 4), height * (width + 1)
    place, value, length = 0, 0, 0  # where the present run begins, of what it is, and how long it is so far
    a, b = 1, 0
    last = False
    while not last:
        if at + 3 > end:
            return unknown
        last, kind = _number(data, at, 1) == 1, _number(data, at + 1, 2)
        at += 3
        if kind == 1:
            bits_S, distance_bits = FIXED.copy(), FIXED_DISTANCES.copy()
        elif kind == 2:
            bits_S, distance_bits, at = _tables(data, at, end)
            if at == 0:
                return unknown
        else:
            return unknown
        counts, symbols, fits = _tree(bits_S)
        far_counts, far_symbols, far_fits = _tree(distance_bits)
        if not fits or not far_fits:
            return unknown
        while True:
            symbol, at = _symbol(data, at, counts, symbols)
            if at > end:
                return unknown
            if symbol == END:
                break
            new, times = value, 1
            if symbol < END:
                new = symbol
            else:
                k = symbol - END - 1
                if k >= len(FIRST) or place + length == 0:
                    return unknown
                times, at = FIRST[k] + _number(data, at, MORE[k]), at + MORE[k]
                distance, at = _symbol(data, at, far_counts, far_symbols)
                if distance != 0 or at > end:
                    return unknown
            if new != value:
                if value and _covers(place, length, width + 1):
                    return unknown
                used[value] |= length > 0
                b = (b + (length % MODULUS) * a + value * ((length * (length + 1) // 2) % MODULUS)) % MODULUS
                a = (a + value * (length % MODULUS)) % MODULUS
                place, value, length = place + length, new, 0
            length += times
            if place + length > total:
                return unknown
    if place + length != total or (value and _covers(place, length, width + 1)):
        return unknown
    used[value] |= length > 0
    b = (b + (length % MODULUS) * a + value * ((length * (length + 1) // 2) % MODULUS)) % MODULUS
    a = (a + value * (length % MODULUS)) % MODULUS
    k = (at + 7) >> 3
    adler = (np.int64(data[k]) << 24) | (np.int64(data[k + 1]) << 16) | (np.int64(data[k + 2]) << 8) | data[k + 3]
    return used if k + 4 == stop and adler == (b << 16 | a) else unknown
