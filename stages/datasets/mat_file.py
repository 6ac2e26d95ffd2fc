"""The puppet_mask.mat files of JHMDB: MATLAB 5 files with `part_mask`, (H, W, T), nonzero = actor.

Reads what these files need of the format ("MAT-File Format", MathWorks: level 5): one plain array of numbers,
compressed or not. scipy.io.loadmat reads all of it, cells and objects included, leaves checksums alone, and ends
the process (segmentation fault) on some damaged files.

Legend: T frames, H height, W width. MATLAB drops a last axis of length 1: a clip of one mask has (H, W).
"""

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks

VARIABLE = "part_mask"
HEAD = 128  # bytes before the first element; the last four are version and byte order
MATRIX, COMPRESSED = 14, 15  # kinds of top-level elements
# How the parts of a matrix are stored: kind → numpy's name, without byte order.
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
NUMERIC = range(6, 16)  # classes of arrays: double … uint64; below are cells, structs, objects, text, sparse
COMPLEX = 0x800
MAX_BYTES = 8 * masks.MAX_PIXELS


class _Array(NamedTuple):
    name: str
    shape: tuple[int, ...]
    values: NDArray[np.generic]  # flat, the first axis runs fastest


def masks_shape(path: Path) -> tuple[int, int, int]:
    """(H, W, T) of a file; raises as `read_masks`."""
    n_frames, height, width = read_masks(path).shape
    return height, width, n_frames


def read_masks(path: Path) -> NDArray[np.bool_]:
    """The masks as (T, H, W).

    Raises:
        ValueError: the file is missing, damaged or not a MATLAB 5 file, or holds no such array of numbers.
    """
    try:
        array = _find(path.read_bytes())
    except FileNotFoundError as error:
        raise ValueError(f"{path}: the masks do not exist; restore them") from error
    except OSError as error:
        raise ValueError(f"{path}: not readable ({error.strerror}); check its kind and its rights") from error
    except (ValueError, zlib.error, struct.error) as error:
        raise ValueError(f"{path}: not readable as masks in a MATLAB 5 file: {error}; restore it") from error
    shape = (*array.shape, 1) if len(array.shape) == 2 else array.shape
    if len(shape) != 3 or min(shape) < 1 or max(shape) > masks.MAX_SIDE or len(array.values) > masks.MAX_PIXELS:
        raise ValueError(f"{path}: {VARIABLE} has shape {array.shape}; it is (H, W, T): restore it")
    masks_HWT = (array.values != 0).reshape(shape, order="F")
    return np.ascontiguousarray(masks_HWT.transpose(2, 0, 1))


def _find(content: bytes) -> _Array:
    """The array of the name VARIABLE."""
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("it has no head of such a file")
    if content[124:126] in (b"\0\2", b"\2\0"):
        raise ValueError("it is of version 7.3; save it as version 5 (save -v7)")
    names = []
    masks_array = None
    for element in _elements(content, order):
        array = _parse(element, order)
        if array.name == VARIABLE and masks_array is not None:
            raise ValueError(f"it holds {VARIABLE} twice")
        masks_array = array if array.name == VARIABLE else masks_array
        names.append(array.name)
    if masks_array is None:
        raise ValueError(f"it holds no variable {VARIABLE!r}, but {names}")
    return masks_array


def _elements(content: bytes, order: str) -> Iterator[bytes]:
    """The matrices of a file, to its very end."""
    at = HEAD
    while at < len(content):
        kind, length = struct.unpack_from(f"{order}II", content, at)
        data = content[at + 8 : at + 8 + length]
        if kind not in (MATRIX, COMPRESSED) or len(data) < length:
            raise ValueError(f"it is broken or cut at byte {at}")
        if kind == COMPRESSED:
            data = _unpack(data)
            if struct.unpack_from(f"{order}II", data) != (MATRIX, len(data) - 8):
                raise ValueError(f"the element at byte {at} is broken")
            data = data[8:]
        yield data
        at += 8 + length


def _unpack(data: bytes) -> bytes:
    """Decompresses an element, checksum included."""
    stream = zlib.decompressobj()
    unpacked = stream.decompress(data, MAX_BYTES)
    if not stream.eof or stream.unused_data:
        raise ValueError("a compressed element is cut, or too large")
    return unpacked


def _parse(data: bytes, order: str) -> _Array:
    """A matrix: flags, dimensions, name, numbers. One of another name is named alone."""
    parts = list(islice(_parts(data, order), 4))
    if len(parts) < 4:
        raise ValueError("an array lacks one of its parts")
    (_, flags), (_, dimensions), (_, name), (stored, numbers) = parts
    array = _Array(name.decode("latin-1"), (), np.zeros(0))
    if array.name != VARIABLE:
        return array
    (kind,) = struct.unpack_from(f"{order}I", flags)
    if kind & 0xFF not in NUMERIC or kind & COMPLEX or stored not in STORED:
        raise ValueError(f"{VARIABLE} is of class {kind & 0xFF}, stored as {stored}; it is an array of real numbers")
    shape = tuple(int(n) for n in np.frombuffer(dimensions, f"{order}i4"))
    dtype = np.dtype(order + STORED[stored])
    size = int(np.prod(shape, dtype=object)) if shape else 0
    if min(shape, default=0) < 1 or len(numbers) != size * dtype.itemsize:
        raise ValueError(f"{VARIABLE} has shape {shape}, but {len(numbers)} bytes of {dtype} numbers")
    return _Array(array.name, shape, np.frombuffer(numbers, dtype))


def _parts(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Kind and bytes of each part; a part of up to four bytes is stored inside its tag."""
    at = 0
    while at < len(data):
        (tag,) = struct.unpack_from(f"{order}I", data, at)
        small = tag >> 16
        kind, start, length = (tag & 0xFFFF, at + 4, small) if small else (tag, at + 8, _length(data, at + 4, order))
        if (small > 4) or start + length > len(data):
            raise ValueError("a part of an array is cut")
        yield kind, data[start : start + length]
        at = at + 8 if small else start + length + -length % 8


def _length(data: bytes, at: int, order: str) -> int:
    (length,) = struct.unpack_from(f"{order}I", data, at)
    return int(length)
