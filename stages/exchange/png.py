"""Mask PNGs: binary ones (mode L, 0 or 255), label maps (mode P, DAVIS palette), and what label maps mean.

Legend: K objects, H height, W width.
"""

import io
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.core.media import masks
from stages.core.records import Rle

WHITE = 255  # the object, in a binary mask
FAST = 1  # zlib level: masks are flat, and higher levels gain little
MASK_MODES = ("L", "1", "P")


def davis_palette() -> list[int]:
    """The 256 colours of the DAVIS 2017 evaluation code, flat: 22 object colours, then greys."""
    first = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128]]
    first += [[128, 128, 128], [64, 0, 0], [191, 0, 0], [64, 128, 0], [191, 128, 0], [64, 0, 128], [191, 0, 128]]
    first += [[64, 128, 128], [191, 128, 128], [0, 64, 0], [128, 64, 0], [0, 191, 0], [128, 191, 0], [0, 64, 128]]
    first += [[128, 64, 128]]
    return [value for colour in [*first, *([grey] * 3 for grey in range(len(first), 256))] for value in colour]


@lru_cache(maxsize=64)  # absent objects and still ones repeat from frame to frame
def mask_png(size: tuple[int, int], counts: str) -> bytes:
    """The PNG of an RLE, mode L, 0 = background, 255 = object; equal masks give equal bytes."""
    return _save(Image.fromarray(masks.decode({"size": size, "counts": counts}).astype(np.uint8) * WHITE))


def label_png(labels_HW: NDArray[np.uint8]) -> bytes:
    """Mode P with the DAVIS palette: 0 = background, else the object's number."""
    image = Image.fromarray(labels_HW)
    image.putpalette(davis_palette())
    return _save(image)


def label_map(rles: Mapping[int, Rle], scores: Mapping[int, float], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Binary masks of several objects as one label map (H, W).

    Where masks overlap, the object with the higher score wins; ties go to the lower number.
    This is the published rule (scores below .5 → 0, background .1, argmax) for masks without
    scores per pixel: an object's score is the same in all its pixels.

    Args:
        rles: number (1 … 255) → mask of `size`.
        scores: number → score.

    Raises:
        ValueError: a mask has another size, or a number does not fit a byte.
    """
    labels_HW = np.zeros(size, np.uint8)
    for number in sorted(rles, key=lambda n: (scores[n], -n)):
        if not 0 < number < 256:
            raise ValueError(f"object {number} does not fit a label map: numbers are 1 … 255")
        mask_HW = masks.decode(rles[number])
        if mask_HW.shape != tuple(size):
            raise ValueError(f"mask of object {number} is of size {mask_HW.shape}, the label map of {tuple(size)}")
        labels_HW[mask_HW] = number
    return labels_HW


def expressions_of(labels_HW: NDArray[np.uint8], labels: Mapping[int, str]) -> dict[str, Rle]:
    """Expression → its mask, as `layouts.Entry.labels` says; in a binary mask every nonzero pixel counts."""
    if len(labels) == 1 and 255 in labels:
        return {labels[255]: masks.encode(labels_HW)}
    return {expression: masks.encode(labels_HW == number) for number, expression in labels.items()}


def objects_png(rles: Sequence[Rle], size: tuple[int, int]) -> bytes:
    """The union of masks as number 1 of a label map."""
    return label_png(masks.decode(masks.union(rles, size)).astype(np.uint8))


def _save(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # Run-length matching: a third of the bytes of the default strategy for a mask, in the same time.
    image.save(buffer, "PNG", compress_level=FAST, compress_type=zlib.Z_RLE)
    return buffer.getvalue()
