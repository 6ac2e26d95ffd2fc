"""F of the DAVIS 2017 evaluation, written plainly, and the masks that metrics are compared with it on."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]


def official_map(mask: Bool) -> Bool:
    east, south, corner = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1] = mask[:, 1:]
    south[:-1, :] = mask[1:, :]
    corner[:-1, :-1] = mask[1:, 1:]
    edge = mask ^ east | mask ^ south | mask ^ corner
    edge[-1, :] = mask[-1, :] ^ east[-1, :]
    edge[:, -1] = mask[:, -1] ^ south[:, -1]
    edge[-1, -1] = 0
    return edge


def disk(radius: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x**2 + y**2 <= radius**2).astype(np.uint8)


def official_f(pred: Bool, truth: Bool, ratio: float = 0.008) -> float:
    radius = math.ceil(ratio * np.linalg.norm(pred.shape))
    fg, gt = official_map(pred), official_map(truth)
    fg_dilated, gt_dilated = (cv2.dilate(m.astype(np.uint8), disk(radius)) for m in (fg, gt))
    n_fg, n_gt = np.sum(fg), np.sum(gt)
    if n_fg == 0 and n_gt > 0:
        precision, recall = 1.0, 0.0
    elif n_fg > 0 and n_gt == 0:
        precision, recall = 0.0, 1.0
    elif n_fg == 0 and n_gt == 0:
        precision, recall = 1.0, 1.0
    else:
        precision, recall = np.sum(fg * gt_dilated) / float(n_fg), np.sum(gt * fg_dilated) / float(n_gt)
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def random_mask(rng: np.random.Generator, height: int, width: int) -> Bool:
    kind = rng.integers(7)
    if kind < 2:
        return np.full((height, width), bool(kind))
    if kind == 2:
        return rng.random((height, width)) < rng.random() ** 2
    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 4)):  # boxes that may touch or cross the border
        top, left = rng.integers(-3, height), rng.integers(-3, width)
        bottom, right = top + rng.integers(1, height + 6), left + rng.integers(1, width + 6)
        mask[max(top, 0) : bottom, max(left, 0) : right] ^= True
    return mask
