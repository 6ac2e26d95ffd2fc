"""Frames of generated clips, with boxes and looks of what is visible. Legend: N objects, T frames, H × W the frame."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stages.micro.training.sam2.clips import in_light
from stages.worlds.shapes import Clip, sample_clip
from stages.worlds.shapes.meaning import ASPECTS, Looks
from stages.worlds.shapes.scene import RADII, Generator, Size

SIZES: tuple[Size, ...] = ((128, 128), (128, 160))  # of the embedded data set
CLIP_FRAMES = 12
WINDOW = 96  # clips in use at a time
FRESH = 3  # new ones per step: a frame is seen about every third time
FULL_SHARE, MOST_OBJECTS = 0.5, 8
VISIBLE = 16  # pixels that make an object visible
MIDDLE_RADIUS = (RADII["small"][1] + RADII["large"][0]) / 2


@dataclass(frozen=True)
class Frame:
    """A picture and its visible objects.

    Attributes:
        image_HW3: uint8 RGB.
        boxes_N4: float32, cx cy w h in 0..1 of the picture: of the visible part.
        owner_HW: int, the index of the object visible there, −1 for none.
        looks: size, colour, texture and shape of each object; sizes as in this frame.
        things: their indices in the scene.
    """

    image_HW3: NDArray[np.uint8]
    boxes_N4: NDArray[np.float32]
    owner_HW: NDArray[np.int64]
    looks: tuple[Looks, ...]
    things: tuple[int, ...]


@lru_cache(maxsize=2 * WINDOW)
def training_clip(seed: int, index: int) -> Clip:
    """Clip `index` of the endless training set of `seed`; sizes alternate, and half of them have the most objects."""
    rng = np.random.default_rng([seed, 0, index])
    return sample_clip(
        rng, CLIP_FRAMES, SIZES[index % 2], n_objects=MOST_OBJECTS if rng.random() < FULL_SHARE else None
    )


def draw_frames(rng: Generator, seed: int, step: int, count: int) -> list[Frame]:
    """Random frames of one size, from a window that moves on by FRESH clips per step; mirrored, in other light."""
    parity = step % 2
    frames: list[Frame] = []
    while len(frames) < count:
        index = step * FRESH + int(rng.integers(WINDOW))
        index += (index + parity) % 2
        clip = training_clip(seed, index)
        frame = frame_of(clip, int(rng.integers(CLIP_FRAMES)), rng)
        if len(frame.looks):
            frames.append(frame)
    return frames


def frame_of(clip: Clip, t: int, rng: Generator | None = None) -> Frame:
    """Frame `t`; with `rng` as a random view."""
    image_HW3, masks_NHW = clip.frames_THW3[t], clip.masks_NTHW[:, t]
    if rng is not None:
        image_HW3 = in_light(rng, image_HW3[None])[0]
        flip = np.s_[:: 1 - 2 * int(rng.integers(2)), :: 1 - 2 * int(rng.integers(2))]
        image_HW3, masks_NHW = image_HW3[flip], masks_NHW[(slice(None), *flip)]
    seen = [i for i, mask_HW in enumerate(masks_NHW) if np.count_nonzero(mask_HW) >= VISIBLE]
    owner_HW = np.full(image_HW3.shape[:2], -1)
    for n, i in enumerate(seen):
        owner_HW[masks_NHW[i]] = n
    boxes_N4 = np.array([box_of(masks_NHW[i]) for i in seen], np.float32).reshape(-1, 4)
    looks = tuple(_looks(clip, i, t) for i in seen)
    return Frame(np.ascontiguousarray(image_HW3), boxes_N4, owner_HW, looks, tuple(seen))


def box_of(mask_HW: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """cx cy w h in 0..1 of a mask that is not empty."""
    y, x = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    height, width = mask_HW.shape
    x0, x1, y0, y1 = x[0] / width, (x[-1] + 1) / width, y[0] / height, (y[-1] + 1) / height
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


def fits(said: Looks, looks: Looks) -> bool:
    """Whether a noun phrase describes an object of these looks."""
    return all(getattr(said, aspect) in (None, getattr(looks, aspect)) for aspect in ASPECTS)


def _looks(clip: Clip, i: int, t: int) -> Looks:
    thing = clip.scene.things[i]
    size = "small" if thing.radius_T[t] < MIDDLE_RADIUS else "large"
    return Looks(size, thing.colour, thing.texture, thing.shape)
