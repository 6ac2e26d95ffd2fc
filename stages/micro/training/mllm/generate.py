"""Endless scenes of the generator as candidates such as a tracker leaves: noisy boxes, tracks that end early or change
over to another object, objects without a track, tracks of nothing.

Legend: N candidates, O objects, T frames, E sentences, H height, W width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.evidence.views.scene import Scene
from stages.micro.training.mllm.records import Record, record_of
from stages.micro.training.mllm.truth import Said, labels_of, looks_of, said_of
from stages.worlds.shapes.clip import Clip, draw_clip
from stages.worlds.shapes.sample import sample_scene
from stages.worlds.shapes.scene import Generator
from stages.worlds.shapes.scene import Scene as World
from stages.worlds.shapes.write import FRAMES, SIZES

MISSED = 0.1  # share of objects without a track
CUT, SWITCHED = 0.14, 0.04  # shares of tracks that end early, or go on with another object
JUNK = (0.3, 0.3, 0.25, 0.15)  # chances of 0, 1, 2, 3 tracks of nothing
HIGH_NUMBERS = 0.15  # share of scenes whose numbers do not start at 1, so that higher ones are trained too
HIGHEST_FIRST = 24
SMALLEST_AREA = 8  # pixels: what is smaller cannot be seen


@dataclass(frozen=True, eq=False)
class Candidates:
    """Tracks of a clip: boxes in pixels, areas, and the IoU of each with each object, about."""

    boxes_NT4: NDArray[np.float32]
    area_NT: NDArray[np.int64]
    shares_NO: NDArray[np.float64]


def endless_record(seed: int, index: int) -> Record:
    """Scene `index` of the endless training set of `seed`; the sets of the splits and of other trainings are others."""
    rng = np.random.default_rng([seed, 7, index])
    world = sample_world(rng)
    clip = draw_clip(rng, world)
    found = noisy(rng, clip)
    first = 1 + int(rng.integers(HIGHEST_FIRST)) if rng.random() < HIGH_NUMBERS else 1
    return recorded(clip, found, first, said_of(rng, world, sample_world(rng)))


def sample_world(rng: Generator) -> World:
    """A scene of the length and size of the data set's."""
    n_frames = min(FRAMES[1], FRAMES[0] + int(rng.exponential(6.5)))
    return sample_scene(rng, n_frames, SIZES[int(rng.integers(len(SIZES)))])


def recorded(clip: Clip, found: Candidates, first: int, said: list[Said]) -> Record:
    """The clip as training keeps it."""
    labels_EN = labels_of(said, found.shares_NO)
    looks_N4 = looks_of(clip.scene.things, found.shares_NO)
    return record_of(scene_of(clip, found), first, looks_N4, [(one.text, one.form) for one in said], labels_EN)


def scene_of(clip: Clip, found: Candidates) -> Scene:
    """What views see of the tracks; the masks are the boxes, which is all that card and facts look at."""
    visible_NT = found.area_NT >= SMALLEST_AREA
    height, width = clip.frames_THW3.shape[1:3]

    def mask(n: int, t: int) -> NDArray[np.bool_]:
        mask_HW = np.zeros((height, width), bool)
        x0, y0, x1, y1 = (int(v) for v in np.round(found.boxes_NT4[n, t]))
        mask_HW[y0:y1, x0:x1] = True
        return mask_HW

    return Scene(
        size=(height, width),
        names=[f"{t:05d}" for t in range(len(clip.frames_THW3))],
        boxes_NT4=np.where(visible_NT[..., None], found.boxes_NT4, 0).astype(np.float32),
        visible_NT=visible_NT,
        area_NT=found.area_NT,
        object_NT=np.where(visible_NT, 5.0, -5.0),
        frame=lambda t: clip.frames_THW3[t],
        mask=mask,
    )


def true_tracks(clip: Clip) -> Candidates:
    """The objects that can be seen, as tracks without an error."""
    masks_NTHW = clip.masks_NTHW
    area_NT = np.count_nonzero(masks_NTHW, axis=(2, 3))
    n, n_frames = area_NT.shape
    boxes_NT4 = np.zeros((n, n_frames, 4), np.float32)
    for low, high, across in ((0, 2, 2), (1, 3, 3)):
        seen_NTL = np.asarray(masks_NTHW.any(across))
        boxes_NT4[..., low] = seen_NTL.argmax(-1)
        boxes_NT4[..., high] = seen_NTL.shape[-1] - seen_NTL[..., ::-1].argmax(-1)
    boxes_NT4[area_NT == 0] = 0
    seen_N = (area_NT >= SMALLEST_AREA).sum(1) >= 2
    return Candidates(boxes_NT4[seen_N], area_NT[seen_N], np.eye(n)[seen_N])


def noisy(rng: Generator, clip: Clip) -> Candidates:
    """Tracks of the objects with a tracker's mistakes, in any order."""
    true = true_tracks(clip)
    boxes, areas, shares = [], [], []
    for n in range(len(true.boxes_NT4)):
        if len(true.boxes_NT4) > 1 and rng.random() < MISSED:
            continue
        boxes_T4, area_T, share_O = true.boxes_NT4[n].copy(), true.area_NT[n].copy(), true.shares_NO[n].copy()
        chance = rng.random()
        if chance < CUT:
            share_O *= _cut(rng, area_T)
        elif chance < CUT + SWITCHED and len(true.boxes_NT4) > 1:
            other = int(rng.choice([m for m in range(len(true.boxes_NT4)) if m != n]))
            share_O = _switch(rng, true, n, other, boxes_T4, area_T)
        boxes.append(boxes_T4)
        areas.append(area_T)
        shares.append(share_O)
    for _ in range(int(rng.choice(len(JUNK), p=JUNK))):
        boxes_T4, area_T = _nothing(rng, clip)
        boxes.append(boxes_T4)
        areas.append(area_T)
        shares.append(np.zeros(true.shares_NO.shape[1]))
    order = rng.permutation(len(boxes))
    jittered_NT4 = _jitter(rng, np.stack(boxes)[order], clip.frames_THW3.shape[1:3])
    return Candidates(jittered_NT4, np.stack(areas)[order], np.stack(shares)[order])


def _cut(rng: Generator, area_T: NDArray[np.int64]) -> float:
    """Ends a track early, or begins it late, in place; returns the share of its object that is left."""
    whole = float(area_T.sum())
    at = int(rng.integers(2, max(3, len(area_T) - 1)))
    if rng.random() < 0.7:
        area_T[at:] = 0
    else:
        area_T[:at] = 0
    return float(area_T.sum()) / max(whole, 1.0)


def _switch(
    rng: Generator, true: Candidates, n: int, other: int, boxes_T4: NDArray[np.float32], area_T: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Lets a track go on with another object, in place; returns the shares."""
    at = int(rng.integers(2, max(3, len(area_T) - 1)))
    boxes_T4[at:], area_T[at:] = true.boxes_NT4[other, at:], true.area_NT[other, at:]
    shares_O = np.zeros(true.shares_NO.shape[1])
    for m, part in ((n, slice(0, at)), (other, slice(at, None))):
        shared = float(area_T[part].sum())
        joined = float(area_T.sum() + true.area_NT[m].sum()) - shared
        shares_O[int(true.shares_NO[m].argmax())] = shared / max(joined, 1.0)
    return shares_O


def _nothing(rng: Generator, clip: Clip) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A piece of the background, or most of it, standing or trembling."""
    n_frames, height, width = clip.frames_THW3.shape[:3]
    share = rng.uniform(0.6, 1.0) if rng.random() < 0.3 else rng.uniform(0.08, 0.4)
    w, h = width * share * rng.uniform(0.7, 1.0), height * share * rng.uniform(0.7, 1.0)
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    boxes_T4 = np.tile(np.array([x, y, x + w, y + h], np.float32), (n_frames, 1))
    boxes_T4 += rng.normal(0, rng.choice([0.0, 0.5, 3.0]), boxes_T4.shape).astype(np.float32)
    area_T = np.full(n_frames, int(w * h * rng.uniform(0.3, 1.0)))
    area_T[rng.random(n_frames) < rng.choice([0.0, 0.0, 0.4])] = 0
    return boxes_T4, area_T


def _jitter(rng: Generator, boxes_NT4: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Edges that are off by a pixel now and then, inside the picture, on whole pixels."""
    off_NT4 = rng.integers(-1, 2, boxes_NT4.shape) * (rng.random(boxes_NT4.shape) < 0.35)
    jittered_NT4 = np.round(boxes_NT4 + off_NT4)
    jittered_NT4[..., 0::2] = jittered_NT4[..., 0::2].clip(0, size[1])
    jittered_NT4[..., 1::2] = jittered_NT4[..., 1::2].clip(0, size[0])
    jittered_NT4[..., 2:] = np.maximum(jittered_NT4[..., 2:], jittered_NT4[..., :2] + 1)
    return jittered_NT4.astype(np.float32)
