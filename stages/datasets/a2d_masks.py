"""The h5 files of A2D-Sentences: `instance` ids (N,) and their masks `reMask`, transposed.

Legend: N instances, W width, H height. `reMask` is (N, W, H), or (W, H) where N = 1.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Rle

Numbers = NDArray[np.generic]


def read_instances(path: Path) -> dict[int, Rle]:
    """Instance id → mask, for one annotated frame; nonzero = object.

    Raises:
        ValueError: the file cannot be read, or does not hold numbers of these shapes.
    """
    try:
        with h5py.File(path, "r") as file:
            ids, masks_NWH = _numbers(file, "instance", path), _numbers(file, "reMask", path)
    except ValueError as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: not readable as HDF5 ({error}); restore it") from error
    except (OSError, KeyError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: not readable as HDF5 ({error}); restore it") from error
    if masks_NWH.ndim == 2:
        masks_NWH = masks_NWH[None]
    instances = _instances(ids, path)
    # Published loaders take masks by position, and pass over any that no id stands for.
    if masks_NWH.ndim != 3 or len(masks_NWH) < len(instances):
        raise ValueError(
            f"{path}: reMask {masks_NWH.shape} for {len(instances)} instances; it is (N, W, H): restore it"
        )
    return {instance: masks.encode(mask_WH.T) for instance, mask_WH in zip(instances, masks_NWH)}


def _numbers(file: h5py.File, name: str, path: Path) -> Numbers:
    """A dataset of plain numbers that is stored in the file itself."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise ValueError(f"{path}: holds no dataset {name!r}; restore it")
    dataset: Any = file[name]
    if dataset.is_virtual or dataset.external or dataset.dtype.kind not in "biuf" or dataset.dtype.subdtype:
        raise ValueError(
            f"{path}: {name!r} is of kind {dataset.dtype} or is stored elsewhere; it must be numbers: restore it"
        )
    if not 0 < dataset.size <= masks.MAX_PIXELS or max(dataset.shape, default=0) > masks.MAX_SIDE:
        raise ValueError(f"{path}: {name!r} has shape {dataset.shape}; restore it")
    return np.asarray(dataset[()])


def _instances(ids: Numbers, path: Path) -> list[int]:
    flat = ids.ravel()
    whole = flat.astype(np.int64, casting="unsafe") if np.isfinite(flat).all() else None
    if whole is None or (whole != flat).any() or (whole < 0).any() or len(set(whole.tolist())) != len(whole):
        raise ValueError(f"{path}: instance ids {flat.tolist()[:10]} are not distinct whole numbers; restore it")
    return [int(value) for value in whole]
