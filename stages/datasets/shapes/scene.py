"""What is in a clip: objects with their looks, their paths and their depth."""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.datasets.shapes.motion import Path_T2

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
RADII: Mapping[str, tuple[float, float]] = {"small": (6.5, 8.5), "large": (12.5, 15.5)}  # pixels, apart on purpose


@dataclass(frozen=True)
class Thing:
    """One moving object; `path_T2` are its centres in pixels, one a frame."""

    shape: str
    colour: str
    size: str
    motion: str
    radius: float
    path_T2: Path_T2


@dataclass(frozen=True)
class Scene:
    """The objects of a clip from the farthest to the nearest."""

    things: tuple[Thing, ...]
    n_frames: int
