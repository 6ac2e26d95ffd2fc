"""Mask PNGs: binary ones (mode L, 0 or 255), label maps (mode P, DAVIS palette), and what label maps mean.

They are written from run lengths, and looked at as such: no pixel is ever decoded (scanlines.py, deflate.py, inflate.py).

Legend: K objects, R runs, H height, W width.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Rle

WHITE = 255  # the object, in a binary mask
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, INDEXED = 0, 3  # colour types
GREY_CHUNKS, INDEXED_CHUNKS = [b"IHDR", b"IDAT", b"IEND"], [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
MAX_PIXELS = 64 << 20  # of a mask
MASK_MODES = ("L", "1", "P")


def davis_palette() -> list[int]:
    """The 256 colours of the DAVIS 2017 evaluation code, flat: 22 object colours, then greys."""
    first = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128]]
    first += [[128, 128, 128], [64, 0, 0], [191, 0, 0], [64, 128, 0], [191, 128, 0], [64, 0, 128], [191, 0, 128]]
    first += [[64, 128, 128], [191, 128, 128], [0, 64, 0], [128, 64, 0], [0, 191, 0], [128, 191, 0], [0, 64, 128]]
    first += [[128, 64, 128]]
    return [value for colour in [*first, *([grey] * 3 for grey in range(len(first), 256))] for value in colour]


@cache
def _davis_bytes() -> bytes:
    return bytes(davis_palette())


@lru_cache(maxsize=64)  # absent objects and still ones repeat from frame to frame
def mask_png(size: tuple[int, int], counts: str) -> bytes:
    """The PNG of an RLE, mode L, 0 = background, 255 = object; equal masks give equal bytes."""
    runs_R = masks.runs(counts)
    values_R = np.where(np.arange(len(runs_R)) % 2, WHITE, 0).astype(np.uint8)
    return _png(Runs(values_R, np.cumsum(runs_R), size), GREY)


@dataclass(frozen=True, eq=False)
class Runs:
    """An image of bytes as runs, column by column.

    Attributes:
        values_R: of the runs.
        ends_R: where they end, the last at H · W; empty runs are left out by whoever reads them.
        size: (H, W).
    """

    values_R: NDArray[np.uint8]
    ends_R: NDArray[np.int64]
    size: tuple[int, int]


def label_png(labels: Runs) -> bytes:
    """Mode P with the DAVIS palette: 0 = background, else the object's number."""
    return _png(labels, INDEXED)


def label_map(rles: Mapping[int, Rle], scores: Mapping[int, float], size: tuple[int, int]) -> Runs:
    """Binary masks of several objects as one label map.

    Where masks overlap, the object with the higher score wins; ties go to the lower number.
    This is the published rule (scores below .5 → 0, background .1, argmax) for masks without
    scores per pixel: an object's score is the same in all its pixels.

    Args:
        rles: number (1 … 255) → mask of `size`.
        scores: number → score.

    Raises:
        ValueError: a mask has another size, or a number does not fit a byte.
    """
    ends_of: dict[int, NDArray[np.int64]] = {}
    for number in sorted(rles, key=lambda n: (scores[n], -n)):
        if not 0 < number < 256:
            raise ValueError(f"object {number} does not fit a label map: numbers are 1 … 255")
        if tuple(rles[number]["size"]) != tuple(size):
            found = tuple(rles[number]["size"])
            raise ValueError(f"mask of object {number} is of size {found}, the label map of {tuple(size)}")
        ends_of[number] = np.cumsum(masks.runs(rles[number]["counts"]))
    ends_R = np.unique(np.concatenate([*ends_of.values(), [size[0] * size[1]]]))
    ends_R = ends_R[ends_R > 0]
    values_R = np.zeros(len(ends_R), np.uint8)
    for number, own in ends_of.items():
        values_R[np.searchsorted(own, ends_R - 1, side="right") % 2 == 1] = number
    return Runs(values_R, ends_R, (size[0], size[1]))


def expressions_of(labels_HW: NDArray[np.uint8], labels: Mapping[int, str]) -> dict[str, Rle]:
    """Expression → its mask, as `layouts.Entry.labels` says; in a binary mask every nonzero pixel counts."""
    if len(labels) == 1 and 255 in labels:
        return {labels[255]: masks.encode(labels_HW)}
    return {expression: masks.encode(labels_HW == number) for number, expression in labels.items()}


def objects_png(rles: Sequence[Rle], size: tuple[int, int]) -> bytes:
    """The union of masks as number 1 of a label map."""
    return label_png(label_map({1: masks.union(rles, size)}, {1: 1.0}, size))


class Shown(NamedTuple):
    """What a PNG holds.

    Attributes:
        mode: Pillow's name: "L", or "P" with the DAVIS palette.
        size: (H, W).
        values: of its pixels, besides 0.
    """

    mode: str
    size: tuple[int, int]
    values: tuple[int, ...]


def look(data: bytes) -> Shown | None:
    """What a PNG holds that is whole, and as this file writes them; None for all others, sound or not.

    Every checksum is compared, the names and order of chunks, codes and lengths of the stream, filters and the number of
    pixels: what is accepted here is what any decoder accepts.
    """
    from stages.exchange.inflate import BEHIND, shown

    chunks = _chunks(data)
    if chunks is None or [name for name, *_ in chunks] not in (GREY_CHUNKS, INDEXED_CHUNKS):
        return None
    (_, at, stop), (_, begins, ends) = chunks[0], chunks[-2]
    colour = GREY if len(chunks) == len(GREY_CHUNKS) else INDEXED
    if stop - at != 13 or data[at + 8 : stop] != bytes((8, colour, 0, 0, 0)):
        return None
    if colour == INDEXED and data[slice(*chunks[1][1:])] != _davis_bytes():
        return None
    width, height = struct.unpack(">II", data[at : at + 8])
    if not 0 < width * height <= MAX_PIXELS or chunks[-1][1] != chunks[-1][2] or len(data) - ends < BEHIND:
        return None
    used = shown(np.frombuffer(data, np.uint8), begins, ends, height, width)
    if not len(used):
        return None
    return Shown("L" if colour == GREY else "P", (height, width), tuple(np.flatnonzero(used[1:]) + 1))


def _chunks(data: bytes) -> list[tuple[bytes, int, int]] | None:
    """Names of a PNG's chunks, and where their contents begin and end; None where one is damaged."""
    if not data.startswith(SIGNATURE):
        return None
    chunks, at = [], len(SIGNATURE)
    while at < len(data):
        begins = at + 8
        ends = begins + int.from_bytes(data[at : at + 4], "big")
        at = ends + 4
        if at > len(data) or zlib.crc32(data[begins - 4 : ends]) != int.from_bytes(data[ends:at], "big"):
            return None
        chunks.append((data[begins - 4 : begins], begins, ends))
    return chunks


def _png(runs: Runs, colour: int) -> bytes:
    """Eight bits per pixel, without a filter: filters gain nothing for flat areas."""
    from stages.exchange.deflate import zlib_stream  # numba is loaded where a file is written
    from stages.exchange.scanlines import scanlines

    height, width = runs.size
    lengths_R = np.diff(runs.ends_R, prepend=0)
    if lengths_R.min() < 0 or runs.ends_R[-1] != height * width:
        raise ValueError(f"runs of {runs.ends_R[-1]} pixels are no image of {height} × {width}; restore the mask")
    filled_R = lengths_R > 0
    values_S, lengths_S = scanlines(runs.values_R[filled_R], runs.ends_R[filled_R], (height, width))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))]
    if colour == INDEXED:
        chunks.append((b"PLTE", _davis_bytes()))
    chunks += [(b"IDAT", zlib_stream(values_S, lengths_S)), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
