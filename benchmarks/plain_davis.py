"""J and F as the DAVIS 2017 evaluation describes them, written plainly: the reference of `benchmarks.metrics`.

A boundary is a dense map, dilated by a disk with OpenCV, as in the code that MeViS, ReVOS and Long-RVOS copied.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def j_and_f(pred_HW: Mask, truth_HW: Mask) -> tuple[float, float]:
    """Region similarity and boundary accuracy of one pair of masks."""
    union = np.sum(pred_HW | truth_HW)
    j = float(np.sum(pred_HW & truth_HW) / union) if union else 1.0
    return j, boundary_accuracy(pred_HW, truth_HW)


def boundary_accuracy(pred_HW: Mask, truth_HW: Mask) -> float:
    """F with a tolerance of 0.8 % of the image diagonal."""
    disk = disk_of(math.ceil(0.008 * np.linalg.norm(pred_HW.shape)))
    pred_edge, truth_edge = boundary_map(pred_HW), boundary_map(truth_HW)
    n_pred, n_truth = np.sum(pred_edge), np.sum(truth_edge)
    pred_near, truth_near = (cv2.dilate(edge.astype(np.uint8), disk) for edge in (pred_edge, truth_edge))
    if n_pred == 0 or n_truth == 0:
        return float(n_pred == n_truth)
    precision = np.sum(pred_edge * truth_near) / float(n_pred)
    recall = np.sum(truth_edge * pred_near) / float(n_truth)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def boundary_map(mask_HW: Mask) -> Mask:
    """Pixels that differ from their right, lower or lower right neighbour."""
    east, south, corner = (np.zeros_like(mask_HW) for _ in range(3))
    east[:, :-1], south[:-1], corner[:-1, :-1] = mask_HW[:, 1:], mask_HW[1:], mask_HW[1:, 1:]
    edge = (mask_HW ^ east) | (mask_HW ^ south) | (mask_HW ^ corner)
    edge[-1] = mask_HW[-1] ^ east[-1]
    edge[:, -1] = mask_HW[:, -1] ^ south[:, -1]
    edge[-1, -1] = False
    return edge


def disk_of(radius: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)
