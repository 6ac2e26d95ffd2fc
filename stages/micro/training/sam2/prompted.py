"""Held-out images with boxes, points and grids of points, through the pipeline's predictors.

Legend: N objects, H height, W width.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base

from stages.core.media import masks as masks_of
from stages.micro.training.sam2.batches import VISIBLE
from stages.micro.training.sam2.tracked import held_out_clip, mask_iou
from stages.prompting.frame_choice import FrameChoice
from stages.prompting.grid.automatic_masks import AutomaticMasks
from stages.prompting.grid.prompter import without_parts
from stages.prompting.grid.settings import GridPrompts
from stages.tracking.sam2_model import image_predictor

Image = NDArray[np.uint8]
Masks = NDArray[np.bool_]
FRAMES_PER_CLIP = (0, 8)
RECALL_IOU = 0.7
NO_FRAMES = FrameChoice(step=1, count=None)
POINTS = 256  # decoded together
PUBLISHED = GridPrompts(  # config.yaml, prompts.grid
    frames_train=NO_FRAMES,
    frames_evaluate=NO_FRAMES,
    points_per_side=32,
    pred_iou_thresh=0.8,
    stability_score_thresh=0.95,
    stability_score_offset=1.0,
    box_nms_thresh=0.7,
    min_mask_region_area=0,
    part_overlap=0.7,
    precision="float32",
)
# A small model predicts lower IoUs, and needs fewer points for 128 px.
SMALL = PUBLISHED.model_copy(update={"points_per_side": 16, "pred_iou_thresh": 0.6, "stability_score_thresh": 0.8})


def prompted_figures(model: SAM2Base, n_clips: int, n_grid_images: int) -> dict[str, float]:
    """Mean IoU by kind of prompt, and what the automatic masks recall."""
    figures: dict[str, float] = _one_by_one(model, n_clips)
    for name, settings in (("grid", SMALL), ("grid_published", PUBLISHED)):
        figures |= {f"{name}_{key}": value for key, value in _automatic(model, settings, n_grid_images).items()}
    return figures


def _images(n_clips: int) -> Iterator[tuple[Image, Masks]]:
    """Frames with the masks of objects of VISIBLE pixels or more."""
    for index in range(n_clips):
        clip = held_out_clip(index)
        for t in FRAMES_PER_CLIP:
            masks_NHW = clip.masks_NTHW[:, t]
            yield clip.frames_THW3[t], masks_NHW[np.count_nonzero(masks_NHW, axis=(1, 2)) >= VISIBLE]


def _one_by_one(model: SAM2Base, n_clips: int) -> dict[str, float]:
    predictor = image_predictor(model)
    rng = np.random.default_rng(0)
    ious: dict[str, list[float]] = {"box_iou": [], "point_centre_iou": [], "point_random_iou": []}
    for image_HW3, masks_NHW in _images(n_clips):
        predictor.set_image(image_HW3)
        for mask_HW in masks_NHW:
            ious["box_iou"].append(mask_iou(_best(predictor, False, box=_box(mask_HW)), mask_HW))
            for name, point in (("centre", _middle(mask_HW)), ("random", _anywhere(rng, mask_HW))):
                predicted_HW = _best(predictor, True, point_coords=point[None], point_labels=np.ones(1))
                ious[f"point_{name}_iou"].append(mask_iou(predicted_HW, mask_HW))
    return {name: round(float(np.mean(values)), 4) for name, values in ious.items()}


def _best(predictor: Any, several: bool, **prompt: Any) -> NDArray[np.bool_]:
    masks_MHW, ious_M, _ = predictor.predict(multimask_output=several, **prompt)
    return masks_MHW[int(np.argmax(ious_M))].astype(bool)


def _box(mask_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    y, x = np.nonzero(mask_HW)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)


def _middle(mask_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The pixel farthest from the border."""
    depth_HW = cv2.distanceTransform(np.pad(mask_HW, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth_HW.argmax()), depth_HW.shape)
    return np.array([x, y], np.float32)


def _anywhere(rng: np.random.Generator, mask_HW: NDArray[np.bool_]) -> NDArray[np.float32]:
    y, x = np.nonzero(mask_HW)
    i = int(rng.integers(len(y)))
    return np.array([x[i], y[i]], np.float32)


def _automatic(model: SAM2Base, settings: GridPrompts, n_images: int) -> dict[str, float]:
    """Recall: objects with a mask of RECALL_IOU or more. Precision: masks that match an object so well."""
    generator = AutomaticMasks(model, settings, POINTS)
    hits = objects = right = n_kept = 0
    for _, (image_HW3, masks_NHW) in zip(range(n_images), _images(n_images)):
        rles = [mask.rle for mask in generator.generate(image_HW3)]
        rles = [rle for rle, area in zip(rles, masks_of.area(rles)) if area > 0]
        masks = [masks_of.decode(rle) for rle in rles]
        kept = without_parts(rles, settings.part_overlap)
        good_KN = np.array([[mask_iou(masks[k] > 0, m) >= RECALL_IOU for m in masks_NHW] for k in kept])
        good_KN = good_KN.reshape(len(kept), len(masks_NHW))
        hits, objects = hits + int(good_KN.any(0).sum()), objects + len(masks_NHW)
        right, n_kept = right + int(good_KN.any(1).sum()), n_kept + len(kept)
    return {
        "recall": round(hits / max(objects, 1), 4),
        "precision": round(right / max(n_kept, 1), 4),
        "masks_per_image": round(n_kept / n_images, 2),
    }
