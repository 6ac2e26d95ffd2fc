"""Parity of automatic masks and of boxes, with the trained micro models on drawn frames of the embedded data set's size."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sam2.modeling.sam2_base import SAM2Base

from benchmarks.gpu.models import MICRO, settings
from benchmarks.gpu.run import Row
from benchmarks.plain_prompts import StockMasks, one_by_one
from stages.core.config.file import Model
from stages.core.media import masks
from stages.core.state.state_dict import read_model
from stages.core.state.weights import Weights
from stages.prompting.grid.automatic_masks import AutomaticMasks
from stages.prompting.grounding_dino.checkpoint import find_checkpoint, read_config
from stages.prompting.grounding_dino.detector import GroundingDino, load_detector, to_pixels
from stages.prompting.grounding_dino.transformers_backend import load_model
from stages.tracking.sam2_layouts import MARKS
from stages.tracking.sam2_model import build_sam2

DETECTOR = Path("stages/micro/weights/grounding_dino")
POINTS, PAIRS = 64, 8
Boxes = list[tuple[Any, Any]]  # corners (N, 4) and scores (N,) of each frame and caption


def masks_row(device: str, precision: str, against: str = "stock") -> Row:
    """Ours on the device against the stock generator there, or against ours on another device."""
    chosen = settings("shapes").prompts.grid.model_copy(update={"precision": precision})
    ours = [mask.rle for mask in AutomaticMasks(sam2(device), chosen, POINTS).generate(frame())]
    if against == "stock":
        expected = [rle for rle, *_ in StockMasks(sam2(device), chosen, POINTS).generate(frame())]
    else:
        expected = [mask.rle for mask in AutomaticMasks(sam2(against), chosen, POINTS).generate(frame())]
    best = masks.iou_matrix(expected, ours).max(1) if expected and ours else np.zeros(1)
    return {
        "masks": f"{len(expected)}, {len(ours)}",
        "at IoU .99": f"{float((best >= 0.99).mean()):.3f}",
        "least IoU": round(float(best.min()), 4),
    }


def boxes_row(device: str, precision: str, captions: list[str], against: str = "stock") -> Row:
    """As `masks_row`; transformers' model computes in float32 in every row."""
    ours = detector(device, precision)
    expected = plain_boxes(ours, device, captions) if against == "stock" else of(detector(against, precision), captions)
    actual = of(ours, captions)
    ious, score_differences = [1.0], [0.0]
    for (boxes_N4, scores_N), (ours_M4, ours_M) in zip(expected, actual, strict=True):
        iou_NM = box_iou(boxes_N4, ours_M4)
        ious += iou_NM.max(1, initial=0).tolist()
        rows = np.flatnonzero(iou_NM.max(1, initial=0) >= 0.9)
        score_differences += np.abs(scores_N[rows] - ours_M[iou_NM[rows].argmax(1)]).tolist() if len(rows) else []
    return {
        "boxes": f"{len(ious) - 1}, {sum(len(boxes) for boxes, _ in actual)}",
        "at IoU .9": f"{np.mean([iou >= 0.9 for iou in ious[1:]]):.3f}",
        "least IoU": round(min(ious), 4),
        "score Δ": float(f"{max(score_differences):.2g}"),
    }


def of(ours: GroundingDino, captions: list[str]) -> Boxes:
    [row] = ours.detect([frame()], captions)
    return [(found.boxes_N4, found.scores_N) for found in row]


def plain_boxes(ours: GroundingDino, device: str, captions: list[str]) -> Boxes:
    model = load_model(find_checkpoint(DETECTOR), read_config(DETECTOR)).eval().to(device)
    [row] = one_by_one(model, ours, [frame()], captions)
    boxes: Boxes = []
    for scores_QT, boxes_Q4 in row:
        scores_Q = scores_QT.amax(1)
        kept = scores_Q > ours.settings.box_threshold
        boxes.append((to_pixels(boxes_Q4[kept].numpy(), frame().shape[:2]), scores_Q[kept].numpy()))
    return boxes


def box_iou(a_N4: Any, b_M4: Any) -> Any:
    from torchvision.ops import box_iou

    return box_iou(torch.from_numpy(a_N4), torch.from_numpy(b_M4)).numpy()


def sam2(device: str) -> SAM2Base:
    """A model of its own for each: ours takes it over."""
    config, weights, _ = MICRO
    model = build_sam2(config, SAM2Base)
    model.load_state_dict(read_model(weights, MARKS))
    return model.eval().requires_grad_(False).to(device)


@cache
def detector(device: str, precision: str) -> GroundingDino:
    chosen = settings("shapes").prompts.gdino.model_copy(update={"precision": precision, "max_boxes": 900})
    weights = Weights(DETECTOR, "micro", Model(hub=None, revision=None, files=[], seed=0, path=None, license=None))
    return load_detector(weights, chosen, device, PAIRS)


@cache
def frame() -> Any:
    """Coloured shapes on a dim ground, 128 × 160."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :160]
    image = (60 + 20 * np.sin(x / 11) * np.cos(y / 13))[..., None].repeat(3, 2) + rng.normal(0, 3, (128, 160, 3))
    for k, colour in enumerate(((220, 40, 40), (40, 60, 220), (40, 200, 60), (230, 210, 40), (200, 60, 200))):
        cy, cx, radius = 25 + 38 * (k % 3), 30 + 45 * (k // 2), 10 + 3 * k
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2 if k % 2 else np.maximum(abs(y - cy), abs(x - cx)) < radius
        image[inside] = colour
    return image.clip(0, 255).astype(np.uint8)
