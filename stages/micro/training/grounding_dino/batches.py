"""Batches: a pure function of seed and step.

Legend: B images, N objects of all images, W tokens, H × W3 the frame, y × x cells of stride 4.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.micro.training.grounding_dino.captions import random_caption
from stages.micro.training.grounding_dino.recipe import Recipe
from stages.micro.training.grounding_dino.scenes import Frame, draw_frames
from stages.micro.training.sam2.batches import normalised
from stages.micro.training.sentences import ASPECT_WORDS
from stages.worlds.shapes.meaning import ASPECTS

STRIDE = 4  # of the auxiliary heads' targets
PAD = 0


@dataclass(frozen=True)
class Batch:
    """What a step needs.

    Attributes:
        images_B3HW: normalised float32.
        ids_BW, mask_BW: int64, captions, and which tokens are real.
        boxes: of each image, float32 (n, 4), cx cy w h in 0..1.
        positive: of each image, float32 (n, W), which tokens name the object.
        classes_B4yx: int64, size, colour, texture, shape seen at a cell's middle; −1 = background.
        rois_BR4: float32, jittered boxes; roi_of_BR: the object that each is of.
    """

    images_B3HW: torch.Tensor
    ids_BW: torch.Tensor
    mask_BW: torch.Tensor
    boxes: list[torch.Tensor]
    positive: list[torch.Tensor]
    classes_B4yx: torch.Tensor
    rois_BR4: torch.Tensor
    roi_of_BR: torch.Tensor


def make_batch(recipe: Recipe, tokenizer: Any, seed: int, step: int) -> Batch:
    rng = np.random.default_rng([seed, 1, step])
    frames = draw_frames(rng, seed, step, recipe.images)
    captions = [random_caption(rng, tokenizer, frame.looks) for frame in frames]
    longest = max(len(caption.ids_W) for caption in captions)
    padded = [caption.ids_W + [PAD] * (longest - len(caption.ids_W)) for caption in captions]
    mask = [[1] * len(caption.ids_W) + [0] * (longest - len(caption.ids_W)) for caption in captions]
    positive = [np.pad(c.positive_NW, ((0, 0), (0, longest - len(c.ids_W)))) for c in captions]
    rois = [_rois(rng, frame.boxes_N4, recipe) for frame in frames]
    return Batch(
        normalised(torch.from_numpy(np.stack([frame.image_HW3 for frame in frames]))),
        torch.tensor(padded),
        torch.tensor(mask),
        [torch.from_numpy(frame.boxes_N4) for frame in frames],
        [torch.from_numpy(one).float() for one in positive],
        torch.from_numpy(np.stack([_classes(frame) for frame in frames])),
        torch.from_numpy(np.stack([boxes for boxes, _ in rois])),
        torch.from_numpy(np.stack([which for _, which in rois])),
    )


def _rois(
    rng: np.random.Generator, boxes_N4: NDArray[np.float32], recipe: Recipe
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """True boxes in turn, shifted and scaled."""
    of_R = (np.arange(recipe.rois) + rng.integers(len(boxes_N4))) % len(boxes_N4)
    boxes_R4 = boxes_N4[of_R]
    shift_R2 = rng.uniform(-recipe.shake, recipe.shake, (recipe.rois, 2)) * boxes_R4[:, 2:]
    scale_R2 = np.exp(rng.uniform(-1.5 * recipe.shake, 1.5 * recipe.shake, (recipe.rois, 2)))
    shaken_R4 = np.concatenate([boxes_R4[:, :2] + shift_R2, boxes_R4[:, 2:] * scale_R2], 1)
    return shaken_R4.clip(0.01, 0.99).astype(np.float32), of_R


def _classes(frame: Frame) -> NDArray[np.int64]:
    """(4, y, x)"""
    owner_yx = frame.owner_HW[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    rows = [[*(ASPECT_WORDS[a].index(getattr(one, a)) for one in frame.looks), -1] for a in ASPECTS]
    return np.array(rows)[:, owner_yx]
