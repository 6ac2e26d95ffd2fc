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


def encode(mask_HW: NDArray[np.generic]) -> Rle:
    """Mask (H, W), nonzero = object → COCO compressed RLE. An empty mask is a valid RLE."""
    if mask_HW.ndim != 2:
        raise ValueError(f"a mask is (H, W); got shape {mask_HW.shape}")
    rle = coco.encode(np.asfortranarray(mask_HW != 0).view(np.uint8))
    return _to_rle(rle)


def encode_all(masks_NHW: NDArray[np.generic]) -> list[Rle]:
    """Masks (N, H, W) → N RLEs, in one call of pycocotools."""
    if masks_NHW.ndim != 3:
        raise ValueError(f"masks are (N, H, W); got shape {masks_NHW.shape}")
    stacked_HWN = np.asfortranarray((masks_NHW != 0).transpose(1, 2, 0)).view(np.uint8)
    return [_to_rle(rle) for rle in coco.encode(stacked_HWN)]


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
    return np.asarray(coco.area([_to_coco(rle) for rle in rles]), dtype=np.uint32) if rles else np.zeros(0, np.uint32)


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
    """(N, M) share of each mask that lies inside each other mask; 0 for an empty mask."""
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
