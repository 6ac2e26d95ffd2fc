"""Arrays, strings, sizes and RLEs in HDF5: chunked, compressed and with checksums.

HDF5 reads no chunk whose checksum (Fletcher-32, of the compressed bytes) is wrong.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Rle
from stages.core.state.cache import ZSTD


def write_array(group: h5py.Group, name: str, data: NDArray[np.generic], rows: int | None = None) -> None:
    """Writes an array compressed, in chunks of at most `rows` along its first axis; None = one chunk."""
    if data.size == 0:  # HDF5 has no chunks of length 0
        group.create_dataset(name, data=data)
        return
    chunks = (min(rows or data.shape[0], data.shape[0]), *data.shape[1:])
    group.create_dataset(name, data=data, chunks=chunks, fletcher32=True, **ZSTD)


def write_strings(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    """Writes texts end to end as UTF-8: HDF5 keeps no checksum of its own strings."""
    encoded = [text.encode() for text in texts]
    inner = group.create_group(name)
    write_array(inner, "utf8", np.frombuffer(b"".join(encoded), np.uint8))
    write_array(inner, "offset", np.cumsum([0, *map(len, encoded)], dtype=np.int64))


def read_strings(group: h5py.Group, name: str) -> list[str]:
    """What `write_strings` wrote."""
    flat, offset = group[name]["utf8"][:].tobytes(), group[name]["offset"][:]
    return [flat[a:b].decode() for a, b in pairwise(offset)]


def parts_of(values: NDArray[Any], offset: NDArray[Any], n: int) -> list[NDArray[Any]]:
    """`values` cut into n parts at `offset`, n + 1 numbers; raises ValueError where these do not cut all of it."""
    bounds = [int(bound) for bound in offset]
    if (
        offset.dtype.kind not in "iu"
        or len(bounds) != n + 1
        or bounds[0] != 0
        or bounds[-1] != len(values)
        or bounds != sorted(bounds)
    ):
        raise ValueError(f"its offsets do not cut {len(values)} values into {n} parts")
    return [values[a:b] for a, b in pairwise(bounds)]


def read_size(file: h5py.File) -> tuple[int, int]:
    """The attribute `size`, (height, width) of the file's masks."""
    height, width = file.attrs["size"]
    return int(height), int(width)


def write_rles(group: h5py.Group, rles: Sequence[Rle]) -> None:
    """Writes `bytes` (u1, end to end) and `offset` (i8, n + 1): where each RLE begins."""
    encoded = [rle["counts"].encode() for rle in rles]
    write_array(group, "bytes", np.frombuffer(b"".join(encoded), np.uint8), 256 << 10)
    write_array(group, "offset", np.cumsum([0, *map(len, encoded)], dtype=np.int64), 64 << 10)


def read_rles(group: h5py.Group, size: tuple[int, int], start: int = 0, stop: int | None = None) -> list[Rle]:
    """RLEs `start` … `stop` − 1, all of `size` = (height, width); raises ValueError where one does not fill it."""
    stop = group["offset"].shape[0] - 1 if stop is None else stop
    offsets = group["offset"][start : stop + 1]
    flat = group["bytes"][offsets[0] : offsets[-1]].tobytes()
    bounds = offsets - offsets[0]
    return [masks.check({"size": size, "counts": flat[a:b].decode()}) for a, b in pairwise(bounds)]


def read_rles_at(group: h5py.Group, size: tuple[int, int], rows: Sequence[int]) -> list[Rle]:
    """Some RLEs in the order of `rows`, in one read of all; raises as `read_rles` does."""
    offset, flat = group["offset"][:], group["bytes"][:]
    return [masks.check({"size": size, "counts": flat[offset[n] : offset[n + 1]].tobytes().decode()}) for n in rows]
