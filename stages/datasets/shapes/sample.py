"""Draws scenes at random, in which every object can be seen.

Legend: N objects, T frames, H height, W width.
"""

from dataclasses import replace

import numpy as np

from stages.datasets.shapes.draw import SHAPES, footprint, visible_masks
from stages.datasets.shapes.motion import MOTIONS, SUBPIXEL, Generator, inside
from stages.datasets.shapes.scene import COLOURS, RADII, Scene, Thing

SEEN = 0.4  # an object counts as seen in a frame where this share of it is visible

MOVABLE = ("straight", "stop and go", "orbit")  # motions that are the same anywhere in the image


def sample_scene(rng: Generator) -> Scene:
    """A scene in which every object is well visible for a third of the clip or longer."""
    for _ in range(500):
        n_frames = int(rng.integers(12, 17))
        scene = Scene(_hide_one(rng, _sample_things(rng, n_frames)), n_frames)
        if _is_visible(scene):
            return scene
    raise AssertionError("no visible scene in 500 tries: the generator's ranges do not fit each other")


def _sample_things(rng: Generator, n_frames: int) -> tuple[Thing, ...]:
    """2–5 objects. Often some share shape or colour, so that looks alone do not tell them apart."""
    n = int(rng.integers(2, 6))
    shapes = [str(rng.choice(SHAPES)) for _ in range(n)]
    colours = [str(c) for c in rng.choice(list(COLOURS), n, replace=False)]
    sizes = [str(rng.choice(list(RADII))) for _ in range(n)]
    if rng.random() < 0.7:
        shapes[1] = shapes[0]
    if rng.random() < 0.4:
        colours[-1] = colours[0]
    if rng.random() < 0.3:
        colours[1], sizes[1] = colours[0], sizes[0]
    motions = [str(m) for m in rng.choice(list(MOTIONS), n, replace=n > len(MOTIONS))]
    return tuple(_thing(rng, *looks, n_frames) for looks in zip(shapes, colours, sizes, motions))


def _thing(rng: Generator, shape: str, colour: str, size: str, motion: str, n_frames: int) -> Thing:
    radius = round(rng.uniform(*RADII[size]) * SUBPIXEL) / SUBPIXEL
    return Thing(shape, colour, size, motion, radius, MOTIONS[motion](rng, n_frames, radius))


def _hide_one(rng: Generator, things: tuple[Thing, ...]) -> tuple[Thing, ...]:
    """In most scenes, one object is led behind a larger one until nothing of it is seen, where that can be."""
    if rng.random() < 0.3:
        return things
    pairs = [(a, b) for a in things for b in things if a.size == "small" and b.size == "large" and a.motion in MOVABLE]
    n_frames = len(things[0].path_T2)
    meetings = [(*pair, t) for pair in pairs for t in range(n_frames // 4, 3 * n_frames // 4)]
    for i in rng.permutation(len(meetings)):
        hidden, cover, t = meetings[i]
        led = replace(hidden, path_T2=hidden.path_T2 + (cover.path_T2 - hidden.path_T2)[t])
        if inside(led.path_T2, led.radius) and _covers(cover, led, t):
            return (led, *(thing for thing in things if thing is not hidden))  # the farthest object
    return things


def _covers(cover: Thing, hidden: Thing, t: int) -> bool:
    front_HW, back_HW = (footprint(thing.shape, thing.radius, *thing.path_T2[t]) for thing in (cover, hidden))
    return not (back_HW & ~front_HW).any()


def _is_visible(scene: Scene) -> bool:
    masks_NTHW, full_N = visible_masks(scene.things)
    share_NT = np.count_nonzero(masks_NTHW, axis=(2, 3)) / full_N[:, None]
    return bool(((share_NT >= SEEN).sum(1) >= max(5, scene.n_frames // 3)).all())
