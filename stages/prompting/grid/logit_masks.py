"""Masks from low-resolution mask logits, as if these had been enlarged to the image first.

SAM's masks are where logits exceed 0 after bilinear interpolation to the size of the image (align_corners=False, as
torch.nn.functional.interpolate). Interpolated values lie between their neighbours, so a cell of the low-resolution
grid whose corners are all high, or all low, is decided as a whole: only cells on an outline are interpolated, and
no image is ever made.

Legend: N masks, h × w low resolution, H × W the image.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from sam2.utils.amg import batched_mask_to_box, calculate_stability_score

from stages.core.compiled import compiled
from stages.core.records import Rle

MARGIN = 1e-3  # of a logit: rounding in the interpolation is far below
PIXELS_PER_PASS = 1 << 26  # of enlarged logits held on an accelerator, a quarter of a gigabyte


@dataclass(frozen=True)
class Measures:
    """What decides which masks stay, on the device of the logits.

    Attributes:
        stability_N: float32, IoU of the masks above +offset and above −offset; nan where both are empty.
        boxes_N4: int64, x0 y0 x1 y1 in pixels, all inclusive; zeros for an empty mask.
    """

    stability_N: torch.Tensor
    boxes_N4: torch.Tensor


def measure(logits_Nhw: torch.Tensor, size: tuple[int, int], offset: float) -> Measures:
    """Stability and boxes (Segment Anything's) of the masks at `size` = (H, W).

    Args:
        logits_Nhw: float32.
        offset: ≥ 0, in logits.
    """
    if logits_Nhw.device.type == "cpu":
        counts_N3, boxes_N4, _ = _trace_all(logits_Nhw, size, offset)
        inner_N, outer_N = torch.from_numpy(counts_N3[:, 2]), torch.from_numpy(counts_N3[:, 0])
        return Measures(inner_N / outer_N, torch.from_numpy(boxes_N4))
    parts = logits_Nhw.split(max(1, PIXELS_PER_PASS // (size[0] * size[1])))
    measures = [_measure_enlarged(part, size, offset) for part in parts]
    return Measures(torch.cat([m.stability_N for m in measures]), torch.cat([m.boxes_N4 for m in measures]))


def encode(logits_Nhw: torch.Tensor, size: tuple[int, int]) -> list[Rle]:
    """The masks at `size` = (H, W) as RLE."""
    _, _, turns = _trace_all(logits_Nhw.cpu(), size, 0.0)
    return [_to_rle(positions, size) for positions in turns]


def _measure_enlarged(logits_Nhw: torch.Tensor, size: tuple[int, int], offset: float) -> Measures:
    enlarged_NHW = torch.nn.functional.interpolate(logits_Nhw[:, None], size, mode="bilinear", align_corners=False)[
        :, 0
    ]
    stability_N = calculate_stability_score(enlarged_NHW, 0.0, offset)
    return Measures(stability_N, batched_mask_to_box(enlarged_NHW > 0).long())


def _trace_all(
    logits_Nhw: torch.Tensor, size: tuple[int, int], offset: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.int64]]]:
    """Pixels above −offset, 0 and +offset (N, 3), boxes (N, 4), and where each mask turns in column order."""
    assert offset >= 0
    columns_Nwh = logits_Nhw.float().transpose(1, 2).contiguous().numpy()
    n, w, h = columns_Nwh.shape
    x0_W, x1_W, weight_W = _neighbours(w, size[1])
    y0_H, _, weight_H = _neighbours(h, size[0])
    first_h = np.searchsorted(y0_H, np.arange(h + 1))
    counts_N3, boxes_N4 = np.zeros((n, 3), np.int64), np.zeros((n, 4), np.int64)
    turns, offsets_N = _trace(columns_Nwh, x0_W, x1_W, weight_W, first_h, weight_H, offset, counts_N3, boxes_N4)
    return counts_N3, boxes_N4, [turns[start:end] for start, end in pairwise(offsets_N)]


def _neighbours(n: int, n_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each output position the two inputs it lies between, and the weight of the second, as torch computes them."""
    scale = np.float32(n) / np.float32(n_out)
    at = np.maximum(scale * (np.arange(n_out, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), np.float32(0))
    first = np.minimum(at.astype(np.int64), n - 1)
    return first, np.minimum(first + 1, n - 1), (at - first.astype(np.float32)).astype(np.float32)


def _to_rle(turns: NDArray[np.int64], size: tuple[int, int]) -> Rle:
    runs = np.diff(turns, prepend=0, append=size[0] * size[1])
    encoded = coco.frPyObjects({"size": list(size), "counts": runs.tolist()}, *size)
    return {"size": (int(size[0]), int(size[1])), "counts": encoded["counts"].decode()}


@compiled
def _trace(columns_Nwh, x0_W, x1_W, weight_W, first_h, weight_H, offset, counts_N3, boxes_N4):  # type: ignore[no-untyped-def]
    """Fills counts and boxes; returns the turns of all masks, one mask after the other, and where each mask's begin."""
    n, w, h = columns_Nwh.shape
    height, width = len(weight_H), len(weight_W)
    low, high = np.float32(-offset), np.float32(offset)
    all_low, all_high = low - np.float32(MARGIN), high + np.float32(MARGIN)
    one = np.float32(1)
    turns, size = np.empty(4096, np.int64), 0
    offsets = np.zeros(n + 1, np.int64)
    column = np.empty(h + 1, np.float32)
    top, end = np.empty(w, np.int64), np.empty(w, np.int64)
    for i in range(n):
        for x in range(w):
            top[x], end[x] = h, 0
            for y in range(h):
                if columns_Nwh[i, x, y] > all_low:
                    top[x] = min(top[x], y)
                    end[x] = y + 1
        inside = False
        left, right, upper, lower = width, -1, height, -1
        for x in range(width):
            a, b, weight = x0_W[x], x1_W[x], weight_W[x]
            start, stop = max(min(top[a], top[b]) - 1, 0), max(end[a], end[b])
            if inside and (stop == 0 or first_h[start] > 0):  # the column starts outside
                inside = False
                turns[size] = x * height
                size += 1
            if len(turns) < size + height + 2:
                bigger = np.empty(2 * len(turns) + height, np.int64)
                bigger[:size] = turns[:size]
                turns = bigger
            if stop == 0:
                continue
            for y in range(start, min(stop + 1, h)):
                column[y] = (one - weight) * columns_Nwh[i, a, y] + weight * columns_Nwh[i, b, y]
            for cell in range(start, stop):
                rows = first_h[cell + 1] - first_h[cell]
                if rows == 0:
                    continue
                above, below = column[cell], column[min(cell + 1, h - 1)]
                y = first_h[cell]
                if above <= all_low and below <= all_low:
                    if inside:
                        inside = False
                        turns[size] = x * height + y
                        size += 1
                    continue
                if above > all_high and below > all_high:
                    counts_N3[i, 0] += rows
                    counts_N3[i, 1] += rows
                    counts_N3[i, 2] += rows
                    if not inside:
                        inside = True
                        turns[size] = x * height + y
                        size += 1
                    left, right = min(left, x), x
                    upper, lower = min(upper, y), max(lower, y + rows - 1)
                    continue
                for row in range(y, y + rows):
                    value = (one - weight_H[row]) * above + weight_H[row] * below
                    counts_N3[i, 0] += value > low
                    counts_N3[i, 2] += value > high
                    now = value > 0
                    if now:
                        counts_N3[i, 1] += 1
                        left, right = min(left, x), x
                        upper, lower = min(upper, row), max(lower, row)
                    if now != inside:
                        inside = now
                        turns[size] = x * height + row
                        size += 1
            if inside and first_h[stop] < height:  # the rest of the column is low
                inside = False
                turns[size] = x * height + first_h[stop]
                size += 1
        offsets[i + 1] = size
        if right >= 0:
            boxes_N4[i, 0], boxes_N4[i, 1], boxes_N4[i, 2], boxes_N4[i, 3] = left, upper, right, lower
    return turns[:size].copy(), offsets
