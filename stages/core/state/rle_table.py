"""Many RLEs in two HDF5 datasets: the bytes end to end, and where each begins."""

from collections.abc import Sequence
from itertools import pairwise

import h5py
import numpy as np

from stages.core.records import Rle
from stages.core.state.cache import ZSTD


def write_rles(group: h5py.Group, rles: Sequence[Rle]) -> None:
    """Writes `bytes` (u1, flat) and `offset` (i8, n + 1)."""
    encoded = [rle["counts"].encode() for rle in rles]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    flat = np.frombuffer(b"".join(encoded), np.uint8)
    if len(flat):  # HDF5 has no chunks of length 0
        group.create_dataset("bytes", data=flat, chunks=(min(len(flat), 256 << 10),), **ZSTD)
    else:
        group.create_dataset("bytes", data=flat)
    group.create_dataset("offset", data=offsets, chunks=(min(len(offsets), 64 << 10),), **ZSTD)


def read_rles(group: h5py.Group, size: tuple[int, int], start: int = 0, stop: int | None = None) -> list[Rle]:
    """RLEs `start` … `stop` − 1, all of `size` = (height, width)."""
    stop = group["offset"].shape[0] - 1 if stop is None else stop
    offsets = group["offset"][start : stop + 1]
    flat = group["bytes"][offsets[0] : offsets[-1]].tobytes()
    bounds = offsets - offsets[0]
    return [{"size": size, "counts": flat[a:b].decode()} for a, b in pairwise(bounds)]
