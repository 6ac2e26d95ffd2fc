"""Draws frames: shaded, textured objects behind walls, in front of a background.

Legend: N objects from the farthest to the nearest, T frames, H height, W width, S side of an object's window.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.worlds.shapes.background import Image, Lens, canvas, looked_at
from stages.worlds.shapes.outlines import Bool, Window, wall_masks
from stages.worlds.shapes.scene import COLOURS, Generator, Scene, Thing


def draw_frames(rng: Generator, scene: Scene, windows: Sequence[Window], masks_NTHW: Bool) -> Image:
    """(T, H, W, 3) RGB.

    Args:
        windows: the objects' windows (`outlines.window_in`).
        masks_NTHW: what is visible of the objects (`outlines.visible_masks`).
    """
    ground_HW3 = canvas(rng, scene.size)
    frames_THW3 = looked_at(ground_HW3, scene.camera_T2, scene.size)
    if scene.walls:
        walls_THW = wall_masks(scene)
        bricks_THW3 = looked_at(canvas(rng, scene.size, before=ground_HW3), scene.camera_T2, scene.size)
        np.copyto(frames_THW3, bricks_THW3, where=walls_THW[..., None])
    for thing, window, masks_THW in zip(scene.things, windows, masks_NTHW):
        skin_TSS3 = _skin(thing, window)
        for t in range(scene.n_frames):
            if cut := window.cut(t, scene.size):
                part_HW3 = frames_THW3[t][cut[0]]
                np.copyto(part_HW3, skin_TSS3[t][cut[1]], where=masks_THW[t][cut[0]][..., None])
    Lens.sample(rng, scene).take(rng, frames_THW3)
    return frames_THW3


def _skin(thing: Thing, window: Window) -> Image:
    """(T, S, S, 3) the object's colours: its texture turns and grows with it, the light comes from the upper left."""
    radius_T11 = thing.radius_T.astype(np.float32)[:, None, None]
    x_TSS, y_TSS = np.broadcast_arrays(window.x_TS[:, None], window.y_TS[..., None])
    away_TSS = np.hypot(x_TSS / radius_T11 + np.float32(0.35), y_TSS / radius_T11 + np.float32(0.35))
    light_TSS = np.float32(1.1) - np.float32(0.2) * away_TSS
    base_3 = np.array(COLOURS[thing.colour], np.float32)
    skin_TSS3 = light_TSS[..., None] * base_3 + np.float32(6)
    if thing.texture != "plain":
        turn_T11 = np.radians(thing.angle_T.astype(np.float32))[:, None, None]
        # Texture coordinates in units of the first radius: a growing object's texture grows with it.
        scale_T11 = np.float32(thing.radius_T[0]) / radius_T11
        u_TSS = (np.cos(turn_T11) * x_TSS + np.sin(turn_T11) * y_TSS) * scale_T11
        v_TSS = (np.cos(turn_T11) * y_TSS - np.sin(turn_T11) * x_TSS) * scale_T11
        marked_TSS = _marks(thing.texture, u_TSS, v_TSS, float(thing.radius_T[0]))
        second_3 = _second(base_3)
        skin_TSS3 = np.where(marked_TSS[..., None], light_TSS[..., None] * second_3, skin_TSS3)
    return np.clip(skin_TSS3, 0, 255).astype(np.uint8)


def _marks(texture: str, u_TSS: NDArray[np.float32], v_TSS: NDArray[np.float32], radius: float) -> Bool:
    """(T, S, S) True where the second colour is; stripes, dots and checks are a few pixels wide at any radius."""
    period = max(5.5, 0.5 * radius)
    if texture == "striped":
        return (u_TSS / period) % 1 < 0.45
    if texture == "checked":
        return ((u_TSS / period) % 1 < 0.5) != ((v_TSS / period) % 1 < 0.5)
    near_TSS = ((u_TSS / period) % 1 - 0.5) ** 2 + ((v_TSS / period) % 1 - 0.5) ** 2
    return near_TSS < 0.085


def _second(base_3: NDArray[np.float32]) -> NDArray[np.float32]:
    """A tone that leaves the object's colour word true: darker, or lighter for dark colours."""
    return base_3 * np.float32(0.45) if base_3.mean() > 60 else base_3 + np.float32(105)
