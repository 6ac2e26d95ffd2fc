"""A zlib stream (RFC 1950, RFC 1951) of long runs of equal bytes, in time proportional to the runs, not to the bytes.

A run is its byte and a match of distance 1 for the rest, as zlib's own run-length strategy writes it; the codes are the stream's
own (dynamic Huffman) or the fixed ones, whichever take fewer bits, in one block. The checksum of a run has a closed form.

Legend: R runs; S = 286 symbols: bytes, the end of the block, and classes of lengths.
"""

import numpy as np
from numpy.typing import NDArray

from stages.core.compiled import compiled

Int = NDArray[np.int64]

SYMBOLS, END, LONGEST, SHORTEST = 286, 256, 258, 3
MOST_BITS, MOST_HEADER_BITS = 15, 7  # of a code, and of a code of the table's
MODULUS = 65521  # of Adler-32
# Lengths by class, from symbol 257 on: the first of each, and how many bits say which of it.
FIRST = np.array(
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258]
)
MORE = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0])
ORDER = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15])  # of the table's own codes
FIXED = np.array([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8)  # two of them never occur, and count among the codes
FIXED_DISTANCE = 5  # bits
HEADER = bytes((0x78, 0x01))


def zlib_stream(values_R: NDArray[np.uint8], lengths_R: Int) -> bytes:
    """What decompresses to every value, each as often as its length says.

    Args:
        lengths_R: > 0; neighbours of one value are better one run.
    """
    data, adler = _stream(values_R, lengths_R)
    return HEADER + data.tobytes() + int(adler).to_bytes(4, "big")


@compiled
def _length_class(length: int) -> int:
    low = 0
    for k in range(len(FIRST)):
        if FIRST[k] <= length:
            low = k
    return low


@compiled
def _huffman(frequency: Int, most: int) -> Int:
    """Bits of the code of each symbol that occurs, at most `most`; two symbols at least occur."""
    used = np.flatnonzero(frequency)
    order = used[np.argsort(frequency[used], kind="mergesort")]
    n = len(order)
    weight = np.empty(2 * n - 1, np.int64)
    weight[:n] = frequency[order]
    parent = np.zeros(2 * n - 1, np.int64)
    leaf, inner = 0, n  # the lightest of each that is left; both are sorted
    for new in range(n, 2 * n - 1):
        total = 0
        for _ in range(2):
            if leaf < n and (inner >= new or weight[leaf] <= weight[inner]):
                chosen, leaf = leaf, leaf + 1
            else:
                chosen, inner = inner, inner + 1
            parent[chosen] = new
            total += weight[chosen]
        weight[new] = total
    depth = np.zeros(2 * n - 1, np.int64)
    for k in range(2 * n - 3, -1, -1):
        depth[k] = depth[parent[k]] + 1
    count = np.zeros(most + 1, np.int64)
    for k in range(n):
        count[min(depth[k], most)] += 1
    room = -(1 << most)  # what the codes take of 2^most, beyond it
    for bits in range(1, most + 1):
        room += count[bits] << (most - bits)
    while room > 0:  # a shorter code becomes two longer ones; one of the longest moves beside it
        bits = most - 1
        while count[bits] == 0:
            bits -= 1
        count[bits] -= 1
        count[bits + 1] += 2
        count[most] -= 1
        room -= 1
    lengths = np.zeros(len(frequency), np.int64)
    k = 0
    for bits in range(most, 0, -1):  # the rarest have the longest
        for _ in range(count[bits]):
            lengths[order[k]] = bits
            k += 1
    return lengths


@compiled
def _codes(lengths: Int) -> Int:
    """Canonical codes, their bits in the order of writing."""
    codes = np.zeros(len(lengths), np.int64)
    code = 0
    for bits in range(1, MOST_BITS + 1):
        for symbol in range(len(lengths)):
            if lengths[symbol] == bits:
                turned = 0
                for k in range(bits):
                    turned |= ((code >> k) & 1) << (bits - 1 - k)
                codes[symbol] = turned
                code += 1
        code <<= 1
    return codes


@compiled
def _table(lengths: Int) -> tuple[Int, Int]:
    """Code lengths as the block's header spells them: symbols, and what follows 16 to 18."""
    symbols = np.empty(len(lengths), np.int64)
    more = np.zeros(len(lengths), np.int64)
    n, at = 0, 0
    while at < len(lengths):
        value, run = lengths[at], 1
        while at + run < len(lengths) and lengths[at + run] == value:
            run += 1
        at += run
        if value > 0:
            symbols[n] = value
            n, run = n + 1, run - 1
        while run > 0:
            if value == 0 and run >= 11:
                step = min(run, 138)
                symbols[n], more[n] = 18, step - 11
            elif value == 0 and run >= 3:
                step = run
                symbols[n], more[n] = 17, step - 3
            elif value > 0 and run >= 3:
                step = min(run, 6)
                symbols[n], more[n] = 16, step - 3
            else:
                step = 1
                symbols[n] = value
            n, run = n + 1, run - step
    return symbols[:n], more[:n]


@compiled
def _put(data: NDArray[np.uint8], at: int, value: int, bits: int) -> int:
    """Writes bits behind `at` bits, lowest first; what is there is 0."""
    value <<= at & 7
    k = at >> 3
    while value:
        data[k] |= value & 255
        value >>= 8
        k += 1
    return at + bits


@compiled
def _frequencies(values_R: NDArray[np.uint8], lengths_R: Int) -> Int:
    frequency = np.zeros(SYMBOLS, np.int64)
    frequency[END] = 1
    for r in range(len(values_R)):
        rest = lengths_R[r] - 1
        frequency[SYMBOLS - 1] += rest // LONGEST
        rest %= LONGEST
        if rest >= SHORTEST:
            frequency[END + 1 + _length_class(rest)] += 1
            rest = 0
        frequency[values_R[r]] += 1 + rest
    return frequency


@compiled
def _adler(values_R: NDArray[np.uint8], lengths_R: Int) -> int:
    a, b = 1, 0
    for r in range(len(values_R)):
        value, n = np.int64(values_R[r]), lengths_R[r]
        b = (b + (n % MODULUS) * a + value * ((n * (n + 1) // 2) % MODULUS)) % MODULUS
        a = (a + value * (n % MODULUS)) % MODULUS
    return b << 16 | a


@compiled
def _stream(values_R: NDArray[np.uint8], lengths_R: Int) -> tuple[NDArray[np.uint8], int]:
    frequency = _frequencies(values_R, lengths_R)
    matches = frequency[END + 1 :].sum()
    bits_S = _huffman(frequency, MOST_BITS)
    distance_bits = 1
    n_symbols = SYMBOLS
    while bits_S[n_symbols - 1] == 0:
        n_symbols -= 1
    symbols, extra = _table(np.concatenate((bits_S[:n_symbols], np.array([1, 1]))))
    table_frequency = np.bincount(symbols, minlength=19)
    table_bits = _huffman(table_frequency, MOST_HEADER_BITS)
    n_table = 19
    while n_table > 4 and table_bits[ORDER[n_table - 1]] == 0:
        n_table -= 1
    size = 3 + 14 + 3 * n_table + (table_bits[symbols]).sum()
    size += 2 * (symbols == 16).sum() + 3 * (symbols == 17).sum() + 7 * (symbols == 18).sum()
    more_bits = (frequency[END + 1 :] * MORE).sum()
    size += (frequency * bits_S).sum() + matches * distance_bits + more_bits
    fixed_size = 3 + (frequency * FIXED[:SYMBOLS]).sum() + matches * FIXED_DISTANCE + more_bits
    data = np.zeros((min(size, fixed_size) + 7) // 8 + 1, np.uint8)
    at = _put(data, 0, 1, 1)  # the last block
    if fixed_size <= size:
        bits_S, distance_bits = FIXED.copy(), FIXED_DISTANCE
        at = _put(data, at, 1, 2)
    else:
        at = _put(data, at, 2, 2)
        at = _put(data, at, n_symbols - 257, 5)
        at = _put(data, at, 1, 5)  # two distances have codes, so that the tree is complete
        at = _put(data, at, n_table - 4, 4)
        for k in range(n_table):
            at = _put(data, at, table_bits[ORDER[k]], 3)
        table_codes = _codes(table_bits)
        for k in range(len(symbols)):
            symbol = symbols[k]
            at = _put(data, at, table_codes[symbol], table_bits[symbol])
            if symbol >= 16:
                at = _put(data, at, extra[k], 2 if symbol == 16 else 3 if symbol == 17 else 7)
    codes_S = _codes(bits_S)
    longest, step = SYMBOLS - 1, bits_S[SYMBOLS - 1] + distance_bits
    together = 48 // step  # of the longest matches in one word; their distance's code is all zeros
    word = np.int64(0)
    for k in range(together):
        word |= codes_S[longest] << (k * step)
    for r in range(len(values_R)):
        value, rest = values_R[r], lengths_R[r] - 1
        at = _put(data, at, codes_S[value], bits_S[value])
        many = rest // LONGEST
        for _ in range(many // together):
            at = _put(data, at, word, together * step)
        for _ in range(many % together):
            at = _put(data, at, codes_S[longest], step)
        rest %= LONGEST
        if rest >= SHORTEST:
            k = _length_class(rest)
            at = _put(data, at, codes_S[END + 1 + k], bits_S[END + 1 + k])
            at = _put(data, at, rest - FIRST[k], MORE[k] + distance_bits)
        else:
            for _ in range(rest):
                at = _put(data, at, codes_S[value], bits_S[value])
    at = _put(data, at, codes_S[END], bits_S[END])
    return data[: (at + 7) // 8], _adler(values_R, lengths_R)
