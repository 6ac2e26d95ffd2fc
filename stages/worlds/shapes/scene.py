"""What is in a clip: objects with their looks, trajectories and depth, walls in front of them, a camera that drifts.

Legend: T frames; paths are (T, 2) float64 of x (right) and y (down) in pixels, in multiples of 1/16, so that
drawing is exact arithmetic and gives the same masks on every machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Generator = np.random.Generator
Size = tuple[int, int]  # height, width

SUBPIXEL = 16
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 135, 30),
    "yellow": (245, 220, 50),
    "green": (50, 160, 70),
    "cyan": (70, 210, 220),
    "blue": (45, 85, 215),
    "purple": (130, 60, 170),
    "pink": (245, 150, 190),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
}
TEXTURES = ("plain", "striped", "dotted", "checked")
RADII: Mapping[str, tuple[float, float]] = {"small": (7.5, 9.5), "large": (13.0, 16.5)}  # pixels; far apart on purpose


@dataclass(frozen=True)
class Thing:
    """One object.

    Attributes:
        size: "small" or "large", at the start.
        motion: the program that moves it; for people and statistics; the meaning of sentences never depends on it.
        path_T2: centres in the world, as without a camera; see `Scene.seen_path`.
        radius_T: pixels, in multiples of 1/16.
        angle_T: degrees, clockwise as seen.
    """

    shape: str
    colour: str
    texture: str
    size: str
    motion: str
    path_T2: Float
    radius_T: Float
    angle_T: Float

    @property
    def looks(self) -> tuple[str, str, str, str]:
        return self.size, self.colour, self.texture, self.shape


@dataclass(frozen=True)
class Wall:
    """A standing rectangle in front of all objects, in pixels of the world; no sentence refers to it."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Scene:
    """The objects of a clip from the farthest to the nearest.

    Attributes:
        camera_T2: the upper left corner of the image, in the world.
    """

    things: tuple[Thing, ...]
    walls: tuple[Wall, ...]
    camera_T2: Float
    size: Size

    @property
    def n_frames(self) -> int:
        return len(self.camera_T2)

    def seen_path(self, thing: Thing) -> Float:
        """(T, 2) centres in the image."""
        return thing.path_T2 - self.camera_T2


def rounded(values: Float) -> Float:
    """To multiples of 1/16."""
    return np.round(np.asarray(values, np.float64) * SUBPIXEL) / SUBPIXEL
