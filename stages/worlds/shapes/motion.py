"""Trajectories of single objects: each program gives the centre of an object in every frame, in the world.

Programs scale with the number of frames: a long clip is a slower one. Pixels, x to the right and y down.

Legend: T frames; a path is (T, 2) float64.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from stages.worlds.shapes.scene import Float, Generator, Size, rounded

# Direction words as unit steps.
DIRECTIONS: Mapping[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
MARGIN = 7.0  # pixels between an object and the border, for those that stay inside: more than the camera drifts


@dataclass(frozen=True)
class Stage:
    """What a program needs to know.

    Attributes:
        radius: of the object at its largest.
        when: 0 … 1 = from the earliest to the latest moment for what it does; None = any.
    """

    rng: Generator
    n_frames: int
    size: Size
    radius: float
    when: float | None = None

    @property
    def room(self) -> Float:
        """(2,) pixels that a centre can travel along x and y."""
        height, width = self.size
        return np.array([width, height]) - 2 * (self.radius + MARGIN)

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def frame(self, low: float, high: float) -> int:
        """A frame between two shares of the clip."""
        share = self.uniform(low, high) if self.when is None else low + (high - low) * self.when
        return round(share * self.n_frames)

    def axis(self) -> tuple[Float, Float, float]:
        """A direction along an axis, the one across it, and the room along it."""
        dx, dy = list(DIRECTIONS.values())[self.rng.integers(4)]
        return np.array([dx, dy], float), np.array([abs(dy), abs(dx)], float), float(self.room[0 if dx else 1])

    def place(self, relative_T2: Float) -> Float:
        """Somewhere inside, made smaller where it does not fit."""
        span_2 = np.maximum(np.ptp(relative_T2, axis=0), 1e-6)
        relative_T2 = relative_T2 * min(1.0, float((self.room / span_2).min()))
        free_2 = self.room - np.ptp(relative_T2, axis=0)
        return relative_T2 - relative_T2.min(0) + self.radius + MARGIN + free_2 * self.rng.random(2)


def still(stage: Stage) -> Float:
    return stage.place(np.zeros((stage.n_frames, 2)))


def straight(stage: Stage) -> Float:
    """Along one axis, slightly slanted, at constant speed."""
    return _run(stage, np.linspace(0, 1, stage.n_frames))


def curve(stage: Stage) -> Float:
    """An arc of 70° to 130°."""
    turn = math.radians(stage.uniform(70, 130)) * stage.rng.choice([-1, 1])
    return stage.place(arc(stage, turn, stage.uniform(50, 75), stage.n_frames))


def stop_and_go(stage: Stage) -> Float:
    """With a stop of a quarter of the clip or more."""
    stand = max(5, stage.frame(0.25, 0.4))
    return _run(stage, _progress(stage, stage.frame(0.2, 0.45), stand))


def stop(stage: Stage) -> Float:
    """Stands from some frame to the end."""
    before = stage.frame(0.2, 0.7)
    return _run(stage, _progress(stage, before, stage.n_frames))


def set_off(stage: Stage) -> Float:
    """Stands at first: a stop played backwards."""
    return stop(stage)[::-1].copy()


def turn_round(stage: Stage) -> Float:
    """Goes, and turns back in mid-air."""
    turn, speed = stage.frame(0.3, 0.7), stage.uniform(45, 65) / stage.n_frames
    along, across, room = stage.axis()
    along_T = speed * np.minimum(np.arange(stage.n_frames), 2 * turn - np.arange(stage.n_frames))
    drift_T = stage.uniform(-0.08, 0.08) * np.arange(stage.n_frames) * speed
    along_T *= min(1.0, (room - 12) / np.ptp(along_T))  # room before the border, so that it does not seem to bounce
    path_T2 = stage.place(along_T[:, None] * along + drift_T[:, None] * across)
    near = _to_border(stage, path_T2[turn], along) < stage.radius + MARGIN + 12
    return path_T2 - 12 * near * along


def bounce(stage: Stage) -> Float:
    """Straight to the border and back."""
    hit, speed = stage.frame(0.3, 0.7), stage.uniform(50, 70) / stage.n_frames
    along, across, room = stage.axis()
    speed = min(speed, room / max(hit, stage.n_frames - hit))
    path_T2 = stage.place(np.zeros((stage.n_frames, 2)))
    path_T2 += along * (_to_border(stage, path_T2[0], along) - stage.radius)
    slide_T = np.linspace(0, stage.uniform(-6, 6), stage.n_frames)
    return path_T2 - speed * abs(np.arange(stage.n_frames) - hit)[:, None] * along + slide_T[:, None] * across


def orbit(stage: Stage) -> Float:
    """A full turn or more around a point."""
    return stage.place(round_trip(stage, stage.uniform(13, 20)))


def enter(stage: Stage) -> Float:
    """From outside the image to well inside."""
    along, _, room = stage.axis()
    outside = stage.frame(0.12, 0.58)  # the last frame out of sight
    depth = stage.uniform(0.45, 0.9) * room + 2.5 * stage.radius
    along_T = (np.arange(stage.n_frames) - outside) * depth / (stage.n_frames - 1 - outside)
    return _from_border(stage, along, along_T)


def leave(stage: Stage) -> Float:
    """Out of the image: an entrance played backwards."""
    return enter(stage)[::-1].copy()


def leave_and_return(stage: Stage) -> Float:
    """Out of the image, and back where it came from."""
    along, _, room = stage.axis()
    away = max(4, stage.frame(0.2, 0.35))
    gone = stage.frame(0.25, 0.5)
    t_T = np.arange(stage.n_frames)
    outside_T = np.clip(np.minimum(t_T - gone, gone + away - t_T), None, 1)
    speed = min((0.8 * room + 2.5 * stage.radius) / max(gone, stage.n_frames - gone - away), 5.0)
    speed = max(speed, 2.6 * stage.radius / max(1, min(gone, stage.n_frames - gone - away)))
    return _from_border(stage, along, -speed * outside_T)


PROGRAMS: Mapping[str, Callable[[Stage], Float]] = {
    "still": still,
    "straight": straight,
    "curve": curve,
    "stop and go": stop_and_go,
    "stop": stop,
    "set off": set_off,
    "turn round": turn_round,
    "bounce": bounce,
    "orbit": orbit,
    "enter": enter,
    "leave": leave,
    "leave and return": leave_and_return,
    "grow": still,
    "shrink": still,
    "spin": still,
}
# The last radius over the first, of those that change it.
GROWTH: Mapping[str, float] = {"grow": 1.75, "shrink": 1 / 1.75}


def path_of(motion: str, stage: Stage) -> Float:
    """(T, 2) centres, in multiples of 1/16. What grows or spins also stands or moves."""
    program = PROGRAMS[motion]
    if motion in ("grow", "shrink", "spin") and stage.rng.random() < 0.5:
        program = straight
    return rounded(program(stage))


def arc(stage: Stage, turn: float, length: float, n: int) -> Float:
    """(n, 2) an arc from the origin that turns by `turn` radians over `length` pixels."""
    heading_T = stage.uniform(0, 2 * math.pi) + np.linspace(0, turn, n)
    steps_T2 = np.stack([np.cos(heading_T), np.sin(heading_T)], 1) * length / (n - 1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps_T2, 0)[:-1]])


def round_trip(stage: Stage, reach: float) -> Float:
    """(T, 2) around the origin at a distance, 330° to 480° either way."""
    sweep = math.radians(stage.uniform(330, 480)) * stage.rng.choice([-1, 1])
    angle_T = stage.uniform(0, 2 * math.pi) + np.linspace(0, sweep, stage.n_frames)
    return reach * np.stack([np.cos(angle_T), np.sin(angle_T)], 1)


def _run(stage: Stage, progress_T: Float) -> Float:
    """A straight line through a random place, travelled as `progress_T` (0 … 1) says."""
    along, across, room = stage.axis()
    travel = min(stage.uniform(0.45, 1.0) * room, 85.0)
    span_2 = along * travel + across * stage.uniform(-0.2, 0.2) * travel
    return stage.place(progress_T[:, None] * span_2)


def _progress(stage: Stage, before: int, stand: int) -> Float:
    """0 … 1, moving for `before` steps, standing for `stand`, and moving again for what is left."""
    steps_S = np.ones(stage.n_frames - 1)
    steps_S[before : before + stand] = 0
    return np.concatenate([[0], np.cumsum(steps_S)]) / steps_S.sum()


def _to_border(stage: Stage, at_2: Float, along: Float) -> float:
    """Pixels from a point to the border of the image in a direction along an axis."""
    height, width = stage.size
    ahead = at_2 @ along
    return float(max(along @ np.array([width, height]), 0.0) - ahead)


def _from_border(stage: Stage, along: Float, along_T: Float) -> Float:
    """Moves by `along_T` inwards from where the object has just left the image."""
    path_T2 = stage.place(np.zeros((stage.n_frames, 2)))
    outside = _to_border(stage, path_T2[0], -along) + 1.35 * stage.radius + 5
    return path_T2 + (along_T - outside)[:, None] * along
