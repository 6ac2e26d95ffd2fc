"""Paths of moving objects: each function gives the centre of an object in every frame.

Coordinates are in pixels, x to the right and y down, rounded to 1/16 so that drawing is exact arithmetic
and gives the same masks on every machine.

Legend: T frames; a path is (T, 2) float64 of x, y.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Path_T2 = NDArray[np.float64]
Generator = np.random.Generator

HEIGHT, WIDTH = 96, 128
SUBPIXEL = 16
# Direction words as unit steps.
DIRECTIONS: Mapping[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
MARGIN = 2.0  # pixels between an object and the border, for those that stay inside


def straight(rng: Generator, n_frames: int, radius: float) -> Path_T2:
    """Along one axis, slightly slanted, at constant speed, inside the image."""
    return _run(rng, radius, np.linspace(0, 1, n_frames))


def stop_and_go(rng: Generator, n_frames: int, radius: float) -> Path_T2:
    """As `straight`, with a stand of 5 or 6 frames in the middle."""
    stand = int(rng.integers(5, 7))
    before = int(rng.integers(3, n_frames - stand - 2))
    steps = np.ones(n_frames - 1)
    steps[before : before + stand] = 0
    return _run(rng, radius, np.concatenate([[0], np.cumsum(steps)]) / steps.sum())


def bounce(rng: Generator, n_frames: int, radius: float) -> Path_T2:
    """Straight to the border and back."""
    dx, dy = _axis(rng)
    hit = int(rng.integers(n_frames // 2 - 1, n_frames // 2 + 2))
    speed = rng.uniform(3.0, 4.5)
    along_T = _extent(dx) / 2 - radius - speed * np.abs(np.arange(n_frames) - hit)
    across = _spread(rng, _extent(dy) / 2 - radius - MARGIN)
    return _round(_centre() + along_T[:, None] * np.array([dx, dy]) + across * np.array([abs(dy), abs(dx)]))


def orbit(rng: Generator, n_frames: int, radius: float) -> Path_T2:
    """A full turn, or a bit less or more, around a point."""
    reach = rng.uniform(12, 18)
    sweep = math.radians(rng.uniform(320, 420)) * (1 if rng.random() < 0.5 else -1)
    angle_T = rng.uniform(0, 2 * math.pi) + np.linspace(0, sweep, n_frames)
    room = np.array([WIDTH / 2, HEIGHT / 2]) - radius - reach - MARGIN
    centre = _centre() + np.array([_spread(rng, room[0]), _spread(rng, room[1])])
    return _round(centre + reach * np.stack([np.cos(angle_T), np.sin(angle_T)], 1))


def enter(rng: Generator, n_frames: int, radius: float) -> Path_T2:
    """From outside the image into it."""
    dx, dy = _axis(rng)
    outside = int(rng.integers(2, 4))
    # Frame `outside` is the last one out of sight; 1.5 radii clear every shape's corners.
    along_T = (np.arange(n_frames) - outside) * rng.uniform(4.5, 6.0) - _extent(dx) / 2 - 1.5 * radius
    across = _spread(rng, _extent(dy) / 2 - radius - MARGIN)
    return _round(_centre() + along_T[:, None] * np.array([dx, dy]) + across * np.array([abs(dy), abs(dx)]))


def leave(rng: Generator, n_frames: int, radius: float) -> Path_T2:
    """Out of the image: an entrance played backwards."""
    return enter(rng, n_frames, radius)[::-1].copy()


MOTIONS: Mapping[str, Callable[[Generator, int, float], Path_T2]] = {
    "straight": straight,
    "stop and go": stop_and_go,
    "bounce": bounce,
    "orbit": orbit,
    "enter": enter,
    "leave": leave,
}


def inside(path_T2: Path_T2, radius: float) -> bool:
    """Whether the object stays in the image all the time."""
    room = np.array([WIDTH, HEIGHT]) - radius
    return bool((path_T2 >= radius).all() and (path_T2 <= room).all())


def _run(rng: Generator, radius: float, progress_T: NDArray[np.float64]) -> Path_T2:
    """A straight line through a random place, travelled as `progress_T` (0 … 1) says."""
    dx, dy = _axis(rng)
    room = np.array([WIDTH, HEIGHT]) - 2 * (radius + MARGIN)
    travel = room[0 if dx else 1] * rng.uniform(0.55, 0.95)
    slant = rng.uniform(-0.2, 0.2) * travel
    span = np.array([dx * travel + abs(dy) * slant, dy * travel + abs(dx) * slant])
    free = room - np.abs(span)
    low = radius + MARGIN + np.maximum(-span, 0) + free * rng.random(2)
    return _round(low + progress_T[:, None] * span)


def _axis(rng: Generator) -> tuple[int, int]:
    return list(DIRECTIONS.values())[rng.integers(4)]


def _extent(component: int) -> int:
    """The image's extent along the axis that has this component: the width for x ≠ 0."""
    return WIDTH if component else HEIGHT


def _spread(rng: Generator, room: float) -> float:
    return float(rng.uniform(-1, 1) * room)


def _centre() -> NDArray[np.float64]:
    return np.array([WIDTH / 2, HEIGHT / 2])


def _round(path_T2: Path_T2) -> Path_T2:
    return np.round(path_T2 * SUBPIXEL) / SUBPIXEL
