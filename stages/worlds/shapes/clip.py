"""Clips in memory, for training: no files, no sentences, a few milliseconds each.

Legend: N objects from the farthest to the nearest, T frames, H height, W width.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stages.worlds.shapes.draw import draw_frames
from stages.worlds.shapes.outlines import visible_masks, window_in
from stages.worlds.shapes.sample import SHORTEST, sample_scene
from stages.worlds.shapes.scene import Generator, Scene, Size


@dataclass(frozen=True)
class Clip:
    """A drawn scene.

    Attributes:
        frames_THW3: uint8 RGB.
        masks_NTHW: bool, what is visible of each object; all False where it is hidden or out of the image.
        scene: what is in it, with the objects in the order of the masks; centres in the image are
            `scene.seen_path(thing)`.
    """

    frames_THW3: NDArray[np.uint8]
    masks_NTHW: NDArray[np.bool_]
    scene: Scene


def sample_clip(
    rng: Generator, n_frames: int = 12, size: Size = (128, 128), n_objects: int | None = None, pace: float = 1.5
) -> Clip:
    """A random clip: cut from a longer scene.

    Args:
        n_frames: of the clip, 1 or more.
        size: (height, width) of the frames, 112 or more.
        n_objects: 2 to 8; None = as often as in the data set. Some may be out of sight for the whole clip.
        pace: the scene lasts this many times longer, 16 frames at least; the clip is cut from a random place.
    """
    length = max(SHORTEST, 16, round(pace * n_frames))
    scene = sample_scene(rng, length, size, n_objects)
    start = int(rng.integers(length - n_frames + 1))
    return draw_clip(rng, cut_scene(scene, start, start + n_frames))


def draw_clip(rng: Generator, scene: Scene) -> Clip:
    """Frames and masks of a scene."""
    windows = [window_in(scene, thing) for thing in scene.things]
    masks_NTHW = visible_masks(scene, windows)
    return Clip(draw_frames(rng, scene, windows, masks_NTHW), masks_NTHW, scene)


def cut_scene(scene: Scene, start: int, stop: int) -> Scene:
    """Some of its frames."""
    piece = slice(start, stop)
    things = tuple(
        replace(t, path_T2=t.path_T2[piece], radius_T=t.radius_T[piece], angle_T=t.angle_T[piece]) for t in scene.things
    )
    return replace(scene, things=things, camera_T2=scene.camera_T2[piece])
