"""Clips of the generator, made once and used in many views.

Legend: N objects, T frames, S = 128.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.micro.training.sam2.recipe import SIDE
from stages.worlds.shapes import Clip, sample_clip
from stages.worlds.shapes.outlines import SHAPES
from stages.worlds.shapes.scene import COLOURS

CLIP_FRAMES = 12
WINDOW = 96  # clips in use at a time
FRESH = 3  # new ones per step: each is used about five times, in other views
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOUR_NAMES: Sequence[str] = tuple(COLOURS)
SHAPE_NAMES: Sequence[str] = tuple(SHAPES)


@dataclass(frozen=True)
class View:
    """A clip in the form given to the model.

    Attributes:
        frames_TSS3: uint8 RGB.
        masks_NTSS: bool; a hidden object's are empty.
        colour_N, shape_N: indices into COLOUR_NAMES and SHAPE_NAMES.
    """

    frames_TSS3: NDArray[np.uint8]
    masks_NTSS: NDArray[np.bool_]
    colour_N: NDArray[np.int64]
    shape_N: NDArray[np.int64]


@lru_cache(maxsize=WINDOW + 32)
def training_clip(seed: int, index: int) -> Clip:
    """Clip `index` of the endless training set of `seed`; held-out clips come from other seeds."""
    return sample_clip(np.random.default_rng([seed, 0, index]), CLIP_FRAMES, (SIDE, SIDE))


def draw_indices(rng: np.random.Generator, step: int, count: int) -> list[int]:
    """Which clips a step uses: a window that moves on by FRESH clips per step."""
    return [int(index) for index in step * FRESH + rng.choice(WINDOW, count, replace=False)]


def view(rng: np.random.Generator, clip: Clip, n_frames: int) -> View:
    """A random view: part of the time, forwards or backwards, mirrored, cropped, in another light."""
    frames, masks = _in_time(rng, clip, n_frames)
    if rng.random() < 0.4:
        frames, masks = _cropped(rng, frames, masks)
    if rng.random() < 0.5:
        frames, masks = frames[:, :, ::-1], masks[..., ::-1]
    if rng.random() < 0.5:
        frames, masks = frames[:, ::-1], masks[:, :, ::-1]
    things = clip.scene.things
    colour_N = np.array([COLOUR_NAMES.index(thing.colour) for thing in things])
    shape_N = np.array([SHAPE_NAMES.index(thing.shape) for thing in things])
    return View(in_light(rng, frames), np.ascontiguousarray(masks), colour_N, shape_N)


def _in_time(rng: np.random.Generator, clip: Clip, n_frames: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    total = len(clip.frames_THW3)
    stride = 2 if 2 * n_frames <= total and rng.random() < 0.3 else 1
    start = int(rng.integers(0, total - (n_frames - 1) * stride))
    order = start + stride * np.arange(n_frames)
    if rng.random() < 0.5:
        order = order[::-1]
    return clip.frames_THW3[order], clip.masks_NTHW[:, order]


def _cropped(
    rng: np.random.Generator, frames_TSS3: NDArray[np.uint8], masks_NTSS: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    height, width = (round(SIDE * rng.uniform(0.65, 1)) for _ in range(2))
    y, x = int(rng.integers(0, SIDE - height + 1)), int(rng.integers(0, SIDE - width + 1))
    window = np.s_[y : y + height, x : x + width]
    frames = np.stack([cv2.resize(frame[window], (SIDE, SIDE)) for frame in frames_TSS3])
    soft = [[cv2.resize(mask[window].astype(np.float32), (SIDE, SIDE)) for mask in row] for row in masks_NTSS]
    return frames, np.array(soft) > 0.5


def in_light(rng: np.random.Generator, frames_TSS3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Brightness and contrast by one lookup table; sometimes noise."""
    gain, gamma, offset = rng.uniform(0.85, 1.15), rng.uniform(0.85, 1.2), rng.uniform(-12, 12)
    table = np.clip(255 * (np.arange(256) / 255) ** gamma * gain + offset, 0, 255).astype(np.uint8)
    lit = table[frames_TSS3]
    if rng.random() < 0.3:
        grain = rng.normal(0, rng.uniform(2, 8), lit.shape[1:])
        lit = np.clip(lit + grain, 0, 255).astype(np.uint8)
    return lit
