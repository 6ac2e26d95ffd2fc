"""Binary masks: COCO RLE, areas, boxes, overlaps. Pure functions with stated empty-mask behaviour.

Shape legend: N masks, M other masks, T frames, H height, W width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from stages.core.records import Rle

Bool = NDArray[np.bool_]

MAX_PIXELS = 1 << 28  # 16384 × 16384: decoded, a quarter of a gigabyte
MAX_SIDE = 0xFFFF  # boxes are uint16


def check(rle: Rle) -> Rle:
    """Returns `rle` if its counts fill its size exactly.

    To be called on every RLE from a file: pycocotools reads past the end of cut counts, fills the rest of short
    ones from uninitialised memory, and computes areas and boxes of broken ones without an error.

    Raises:
        ValueError: the size is not a pair of positive integers or too large, a character is not one of the
            encoding's, the last run is cut, a run is negative, or the runs do not add up to the size.
    """
    height, width = _check_size(rle["size"])
    lengths = runs(rle["counts"])
    if lengths.min() < 0:
        raise ValueError(f"RLE of size {rle['size']}: run {int(np.argmax(lengths < 0))} is negative; restore the mask")
    if lengths.sum() != height * width:
        raise ValueError(
            f"RLE of size {rle['size']}: its runs hold {lengths.sum()} pixels instead of {height * width}; restore the mask"
        )
    return rle


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    if not (type(height) is type(width) is int and min(height, width) > 0 and max(height, width) <= MAX_SIDE):
        raise ValueError(f"RLE size {size}: needs (height, width), integers from 1 to {MAX_SIDE}")
    if height * width > MAX_PIXELS:
        raise ValueError(f"RLE size {size}: more than {MAX_PIXELS} pixels; is it a size at all?")
    return height, width


def runs(counts: str) -> NDArray[np.int64]:
    """Lengths of the runs that COCO's compressed counts spell.

    Raises:
        ValueError: they are empty, hold other characters, are cut, or a run has more digits than any can have.
    """
    from stages.core.media import run_lengths  # numba is loaded where a mask is read

    lengths, fault = run_lengths.coco_runs(np.frombuffer(counts.encode("utf-8", "replace"), np.uint8))
    if fault == run_lengths.STRANGE:
        raise ValueError("RLE counts are empty or hold characters outside '0' … 'o'; restore the mask")
    if fault == run_lengths.CUT:
        raise ValueError("RLE counts are cut inside their last run; restore the mask")
    if fault == run_lengths.LONG:
        raise ValueError(f"RLE counts hold a run of more than {run_lengths.DIGITS} digits; restore the mask")
    decoded: NDArray[np.int64] = lengths
    return decoded


def from_runs(runs: Sequence[int], size: tuple[int, int]) -> Rle:
    """COCO's uncompressed counts, lengths of runs from the background on, as an RLE of `size` = (height, width).

    Raises:
        ValueError: they are not whole numbers of pixels that fill the size exactly.
    """
    if any(type(run) is not int or run < 0 for run in runs):
        raise ValueError("RLE counts as a list are whole numbers of pixels; restore the mask")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(
            f"RLE of size {list(size)}: its runs hold {sum(runs)} pixels instead of {size[0] * size[1]}; restore the mask"
        )
    return _to_rle(coco.frPyObjects({"size": list(size), "counts": list(runs)}, *size))


def read_rle(raw: Any) -> Rle:
    """An RLE of a JSON file, in either of COCO's forms: counts as text (compressed) or as a list of runs.

    Raises:
        ValueError: it is neither, or its counts do not fill its size exactly.
    """
    try:
        (height, width), counts = raw["size"], raw["counts"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            "is not {'size': [height, width], 'counts': text or list of runs}; restore the mask"
        ) from error
    if not (type(height) is type(width) is int and min(height, width) > 0 and isinstance(counts, (str, list))):
        raise ValueError(
            f"needs two positive integers as size and text or a list of runs as counts; found size {[height, width]}, "
            f"counts {type(counts).__name__}: restore the mask"
        )
    size = (height, width)
    return check({"size": size, "counts": counts}) if isinstance(counts, str) else _compress(size, counts)


def _compress(size: tuple[int, int], runs: Sequence[Any]) -> Rle:
    """Runs of 0 and 1 in turn, column by column, as the RLE that `encode` would give."""
    if not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError("its list of runs holds something else than whole numbers from 0; restore the mask")
    _check_size(size)
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"its runs hold {sum(runs)} pixels instead of {size[0] * size[1]}; restore the mask")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return encode(flat.reshape(size, order="F"))


def encode(mask_HW: NDArray[np.generic]) -> Rle:
    """Mask (H, W), nonzero = object → COCO compressed RLE, the bytes of pycocotools. An empty mask is a valid RLE."""
    if mask_HW.ndim != 2:
        raise ValueError(f"a mask is (H, W); got shape {mask_HW.shape}")
    from stages.core.media import run_lengths  # numba is loaded where a mask is encoded

    height, width = mask_HW.shape
    mask_HW = mask_HW if mask_HW.dtype == bool else mask_HW != 0
    by_columns = mask_HW.flags.f_contiguous and not mask_HW.flags.c_contiguous
    turns = run_lengths.row_turns(mask_HW.T if by_columns else mask_HW)
    turns = turns if by_columns else run_lengths.turned(turns, height, width)
    return {"size": (height, width), "counts": run_lengths.coco_text(turns, height * width).tobytes().decode("ascii")}


def encode_all(masks_NHW: NDArray[np.generic]) -> list[Rle]:
    """Masks (N, H, W) → N RLEs."""
    if masks_NHW.ndim != 3:
        raise ValueError(f"masks are (N, H, W); got shape {masks_NHW.shape}")
    return [encode(mask_HW) for mask_HW in masks_NHW]


def decode(rle: Rle) -> Bool:
    """RLE → (H, W) bool.

    Raises:
        ValueError: the counts do not fit the size.
    """
    try:
        return coco.decode(_to_coco(rle)).view(np.bool_)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"broken RLE of size {rle.get('size')}: {error}") from error


def empty(size: tuple[int, int]) -> Rle:
    """The RLE of an empty mask of `size` = (height, width)."""
    return encode(np.zeros(size, bool))


def area(rles: Sequence[Rle]) -> NDArray[np.uint32]:
    """(N,) areas in pixels."""
    # pycocotools 2.0.11 keeps the number of masks in a uint8: more than 255 at once are an OverflowError.
    parts = [coco.area([_to_coco(rle) for rle in rles[i : i + 255]]) for i in range(0, len(rles), 255)]
    return np.concatenate([np.zeros(0, np.uint32), *parts]).astype(np.uint32)


def boxes(rles: Sequence[Rle]) -> NDArray[np.uint16]:
    """(N, 4) boxes x0 y0 x1 y1 in pixels, x1 and y1 exclusive; an empty mask gives zeros."""
    if not rles:
        return np.zeros((0, 4), np.uint16)
    xywh = np.asarray(coco.toBbox([_to_coco(rle) for rle in rles]), np.float64).reshape(-1, 4)
    xywh[:, 2:] += xywh[:, :2]
    xywh[area(rles) == 0] = 0
    return xywh.astype(np.uint16)


def iou_matrix(rles: Sequence[Rle], others: Sequence[Rle]) -> NDArray[np.float64]:
    """(N, M) intersection over union; 0 where both are empty."""
    if not rles or not others:
        return np.zeros((len(rles), len(others)))
    crowd = [0] * len(others)
    iou_NM = coco.iou([_to_coco(r) for r in rles], [_to_coco(o) for o in others], crowd)
    return np.nan_to_num(np.asarray(iou_NM, np.float64))


def containment_matrix(rles: Sequence[Rle], others: Sequence[Rle]) -> NDArray[np.float64]:
    """(N, M) share of each mask that is inside each other mask; 0 for an empty mask."""
    if not rles or not others:
        return np.zeros((len(rles), len(others)))
    crowd = [1] * len(others)  # "crowd" divides by the first mask's area alone
    inside_NM = coco.iou([_to_coco(r) for r in rles], [_to_coco(o) for o in others], crowd)
    return np.nan_to_num(np.asarray(inside_NM, np.float64))


def union(rles: Sequence[Rle], size: tuple[int, int]) -> Rle:
    """Union of any number of masks of `size`; no mask gives the empty one."""
    if not rles:
        return empty(size)
    wrong = {tuple(rle["size"]) for rle in rles} - {tuple(size)}
    if wrong:
        raise ValueError(f"masks of size {sorted(wrong)} cannot join a union of size {tuple(size)}")
    return _to_rle(coco.merge([_to_coco(rle) for rle in rles], intersect=False))


def _to_coco(rle: Rle) -> dict[str, Any]:
    return {"size": list(rle["size"]), "counts": rle["counts"].encode()}


def _to_rle(rle: dict[str, Any]) -> Rle:
    height, width = rle["size"]
    return {"size": (int(height), int(width)), "counts": rle["counts"].decode()}
