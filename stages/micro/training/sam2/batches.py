"""Batches: images with prompts of three kinds, and videos with mask prompts in their first frame.

Legend: B images or videos, O objects or prompts, T frames, S = 128, s = 32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stages.micro.training.sam2.clips import MEAN, STD, View, draw_indices, training_clip, view
from stages.micro.training.sam2.recipe import MASK_SIDE, SIDE, Recipe

VISIBLE = 24  # pixels: least visible area of a prompted object
OBJECTS_PER_VIDEO = 2
STEP_STREAM = 1  # the random stream of steps; 0 is that of clips


@dataclass(frozen=True)
class Targets:
    """The true answers; `image_O`: the image or video of the batch.

    Attributes:
        masks_TOSS: bool; empty where there is no object.
        colour_O, shape_O: class indices; −1 for background clicks.
    """

    image_O: torch.Tensor
    masks_TOSS: torch.Tensor
    colour_O: torch.Tensor
    shape_O: torch.Tensor


@dataclass(frozen=True)
class PromptGroup:
    """Prompts of one kind on images: points (labels 1), boxes (labels 2, 3) or, without points, masks."""

    targets: Targets
    points_OP2: torch.Tensor | None
    labels_OP: torch.Tensor | None


@dataclass(frozen=True)
class Batch:
    """Images, normalised float32, and dense targets for every cell of 4 × 4 pixels.

    Attributes:
        dense_TB3ss: float32: 1 on an object, else 0; and (x, y) to its centre in units of 32 px.
        classes_TB2ss: int64: its colour and shape; −1 where there is none.
    """

    images_TB3SS: torch.Tensor
    dense_TB3ss: torch.Tensor
    classes_TB2ss: torch.Tensor


@dataclass(frozen=True)
class ImageBatch(Batch):
    """Images (T = 1) with groups of prompts."""

    groups: Sequence[PromptGroup]


@dataclass(frozen=True)
class VideoBatch(Batch):
    """Videos; their prompts are the masks of frame 0. `teach_TO`: where true masks go into the memory."""

    targets: Targets
    teach_TO: torch.Tensor


def make_batch(recipe: Recipe, seed: int, step: int, progress: float) -> ImageBatch | VideoBatch:
    """The batch of a step: equal arguments give equal batches."""
    rng = np.random.default_rng([seed, STEP_STREAM, step])
    if recipe.is_video(step, progress):
        return _videos(recipe, rng, seed, step, progress)
    return _images(recipe, rng, seed, step, progress >= recipe.negatives_from)


def _videos(recipe: Recipe, rng: np.random.Generator, seed: int, step: int, progress: float) -> VideoBatch:
    n_frames = recipe.frames(progress, float(rng.random()))
    wanted = max(2, round(recipe.object_frames / n_frames))
    views: list[View] = []
    chosen: list[tuple[int, int]] = []
    for index in draw_indices(rng, step, wanted):
        seen = view(rng, training_clip(seed, index), n_frames)
        objects = _objects_to_follow(rng, seen)
        chosen += [(len(views), i) for i in objects[: wanted - len(chosen)]]
        views.append(seen)
        if len(chosen) == wanted:
            break
    targets = _targets(views, chosen)
    teach_TO = rng.random((n_frames, len(chosen))) < recipe.teacher_share(progress)
    return VideoBatch(_images_of(views), *_dense(views), targets, torch.from_numpy(teach_TO))


def _objects_to_follow(rng: np.random.Generator, seen: View) -> list[int]:
    """A few objects of the first frame; in half of the cases those that are hidden later come first."""
    area_NT = np.count_nonzero(seen.masks_NTSS, axis=(2, 3))
    visible = rng.permutation(np.flatnonzero(area_NT[:, 0] >= VISIBLE))
    if rng.random() < 0.5:
        visible = visible[np.argsort(area_NT[visible].min(1) > 0, kind="stable")]
    return [int(i) for i in visible[:OBJECTS_PER_VIDEO]]


def _images(recipe: Recipe, rng: np.random.Generator, seed: int, step: int, negatives: bool) -> ImageBatch:
    views = [view(rng, training_clip(seed, index), 1) for index in draw_indices(rng, step, recipe.images)]
    chosen: list[list[tuple[int, int]]] = [[], [], []]  # by points, boxes and masks
    for image, seen in enumerate(views):
        for i in np.flatnonzero(np.count_nonzero(seen.masks_NTSS[:, 0], axis=(1, 2)) >= VISIBLE):
            chosen[int(rng.choice(3, p=(0.5, 0.3, 0.2)))].append((image, int(i)))
        if negatives and rng.random() < 0.5:
            chosen[0].append((image, -1))
    groups = [_point_group(rng, views, chosen[0]), _box_group(rng, views, chosen[1]), _mask_group(views, chosen[2])]
    return ImageBatch(_images_of(views), *_dense(views), [group for group in groups if group is not None])


def _point_group(
    rng: np.random.Generator, views: Sequence[View], chosen: Sequence[tuple[int, int]]
) -> PromptGroup | None:
    if not chosen:
        return None
    points = [_click(rng, views[image].masks_NTSS[:, 0], i) for image, i in chosen]
    points_O12 = torch.tensor(np.array(points)[:, None], dtype=torch.float32)
    return PromptGroup(_targets(views, chosen), points_O12, torch.ones(len(chosen), 1, dtype=torch.int32))


def _click(rng: np.random.Generator, masks_NSS: NDArray[np.bool_], i: int) -> tuple[float, float]:
    """A random pixel (x, y) of object `i`, or for −1 of the background."""
    inside = np.flatnonzero(masks_NSS[i] if i >= 0 else ~masks_NSS.any(0))
    y, x = divmod(int(rng.choice(inside)), SIDE)
    return x, y


def _box_group(
    rng: np.random.Generator, views: Sequence[View], chosen: Sequence[tuple[int, int]]
) -> PromptGroup | None:
    if not chosen:
        return None
    boxes_O4 = np.array([_box(views[image].masks_NTSS[i, 0]) for image, i in chosen])
    extent_O2 = boxes_O4[:, 2:] - boxes_O4[:, :2]
    noise = rng.uniform(-0.1, 0.1, boxes_O4.shape) * np.tile(extent_O2, 2) * (rng.random((len(chosen), 1)) < 0.7)
    points_O22 = torch.tensor((boxes_O4 + noise).clip(0, SIDE).reshape(-1, 2, 2), dtype=torch.float32)
    labels_O2 = torch.tensor([2, 3], dtype=torch.int32).expand(len(chosen), 2)
    return PromptGroup(_targets(views, chosen), points_O22, labels_O2)


def _box(mask_SS: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    y, x = np.nonzero(mask_SS)
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1


def _mask_group(views: Sequence[View], chosen: Sequence[tuple[int, int]]) -> PromptGroup | None:
    return PromptGroup(_targets(views, chosen), None, None) if chosen else None


def _targets(views: Sequence[View], chosen: Sequence[tuple[int, int]]) -> Targets:
    n_frames = len(views[0].frames_TSS3)
    nothing = np.zeros((n_frames, SIDE, SIDE), bool)
    masks = [views[image].masks_NTSS[i] if i >= 0 else nothing for image, i in chosen]
    return Targets(
        torch.tensor([image for image, _ in chosen]),
        torch.from_numpy(np.stack(masks, 1)),
        torch.tensor([int(views[image].colour_N[i]) if i >= 0 else -1 for image, i in chosen]),
        torch.tensor([int(views[image].shape_N[i]) if i >= 0 else -1 for image, i in chosen]),
    )


def _images_of(views: Sequence[View]) -> torch.Tensor:
    frames_TBSS3 = np.stack([seen.frames_TSS3 for seen in views], 1)
    return normalised(torch.from_numpy(frames_TBSS3))


def normalised(frames_SS3: torch.Tensor) -> torch.Tensor:
    """uint8 (…, S, S, 3) → float32 (…, 3, S, S), as the predictors of the package do."""
    scaled = (frames_SS3.float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return scaled.movedim(-1, -3).contiguous()


def _dense(views: Sequence[View]) -> tuple[torch.Tensor, torch.Tensor]:
    """(T, B, 3, s, s) and (T, B, 2, s, s): sampled at the middle of every cell of the decoder's logits."""
    maps, classes = zip(*(_dense_of(seen) for seen in views))
    return torch.from_numpy(np.stack(maps, 1)), torch.from_numpy(np.stack(classes, 1))


def _dense_of(seen: View) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    stride = SIDE // MASK_SIDE
    cells_NTss = seen.masks_NTSS[:, :, stride // 2 :: stride, stride // 2 :: stride].astype(np.float32)
    middle_s = (np.arange(MASK_SIDE, dtype=np.float32) + 0.5) * stride
    area_NT = cells_NTss.sum((2, 3)).clip(1)
    x_NT = (cells_NTss.sum(2) @ middle_s) / area_NT
    y_NT = (cells_NTss.sum(3) @ middle_s) / area_NT
    dx_Tss = (cells_NTss * (x_NT[..., None, None] - middle_s)).sum(0) / 32
    dy_Tss = (cells_NTss * (y_NT[..., None, None] - middle_s[:, None])).sum(0) / 32
    owned_NTss = cells_NTss.astype(np.int64)  # no cell has two owners
    kinds = [(owned_NTss * (kind_N + 1)[:, None, None, None]).sum(0) - 1 for kind_N in (seen.colour_N, seen.shape_N)]
    return np.stack([cells_NTss.sum(0), dx_Tss, dy_Tss], 1).astype(np.float32), np.stack(kinds, 1)
