"""Draws scenes at random: which objects there are, what they do, and where the camera looks.

Often several objects look alike, so that only what they do tells them apart.

Legend: N objects, T frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stages.worlds.shapes.motion import GROWTH, PROGRAMS, Stage, path_of
from stages.worlds.shapes.outlines import SHAPES
from stages.worlds.shapes.pairs import PAIRS, hide, paths_of
from stages.worlds.shapes.scene import COLOURS, RADII, TEXTURES, Float, Generator, Scene, Size, Thing, Wall, rounded

SHORTEST = 12  # frames: in fewer the programs have too little time
COUNTS = {2: 0.08, 3: 0.22, 4: 0.24, 5: 0.2, 6: 0.13, 7: 0.08, 8: 0.05}  # objects in a clip
MUTUAL = ("approach", "part", "circle each other")
MOTION_WEIGHTS = {
    "straight": 3.0,
    "leave and return": 2.0,
    "spin": 1.4,
    "orbit": 1.4,
    "curve": 1.4,
    "grow": 1.2,
}  # else 1
EVENTS = ("enter", "leave", "stop", "set off", "turn round", "bounce")  # shared by some, for "the first to …"


@dataclass(frozen=True)
class Looks:
    size: str
    colour: str
    texture: str
    shape: str


def sample_scene(rng: Generator, n_frames: int, size: Size, n_objects: int | None = None) -> Scene:
    """A scene of 2 to 8 objects.

    Raises:
        ValueError: fewer than 12 frames, or an image with a side below 112 pixels.
    """
    if n_frames < SHORTEST or min(size) < 112:
        raise ValueError(f"a scene has {SHORTEST} frames of 112×112 or more; got {n_frames} of {size}")
    n = n_objects or _pick(rng, COUNTS)
    crew = _Crew(rng, n_frames, size)
    for looks, motion, when in _cast(rng, n):
        crew.add(looks, motion, when)
    order = rng.permutation(len(crew.things))
    return Scene(tuple(crew.things[i] for i in order), tuple(crew.walls), _camera(rng, n_frames), size)


def _cast(rng: Generator, n: int) -> Iterator[tuple[list[Looks], str, float | None]]:
    """Looks, motions and moments; the motion of a pair has two looks. Some do the same one after the other."""
    looks = _sample_looks(rng, n)
    if n >= 2 and rng.random() < 0.6:
        pair = str(rng.choice(list(PAIRS)))
        first, second = _two(rng, looks, alike=pair in MUTUAL)
        yield [looks[first], looks[second]], pair, None
        looks = [one for i, one in enumerate(looks) if i not in (first, second)]
    if looks and rng.random() < 0.35:
        yield [_made_visible(rng, looks.pop(), "hide")], "hide", None
    weights = {motion: MOTION_WEIGHTS.get(motion, 1.0) for motion in PROGRAMS}
    event = str(rng.choice(EVENTS)) if rng.random() < 0.5 else None
    doers = min(len(looks), int(rng.integers(2, 4))) if event else 0
    moments = rng.permutation(doers) / max(1, doers - 1)
    for i, one in enumerate(looks):
        motion = event if event and i < doers else _pick(rng, weights)
        yield [_made_visible(rng, one, motion)], motion, float(moments[i]) if i < doers else None
        weights[motion] *= 0.3


def _two(rng: Generator, looks: Sequence[Looks], *, alike: bool) -> tuple[int, int]:
    """The two of a pair, chosen so that there is something to tell apart: a third one looks like the first.

    Mutual ones look alike; others do not, and the second looks unlike all others, as a landmark must.
    """
    pairs = [(int(i), int(j)) for i in rng.permutation(len(looks)) for j in rng.permutation(len(looks)) if i != j]

    def fitness(pair: tuple[int, int]) -> int:
        first, second = (looks[i] for i in pair)
        unique = alike or looks.count(second) == 1
        return 2 * ((first == second) == alike) + unique + (looks.count(first) > 1 + alike)

    return max(pairs, key=fitness)


def _sample_looks(rng: Generator, n: int) -> list[Looks]:
    """Looks in groups: of two or three that are alike, and of others that share a word with them."""
    large = 0.5 if n <= 4 else 0.25
    palette = [str(c) for c in rng.choice(list(COLOURS), max(2, n - 1), replace=False)]
    kinds = [str(s) for s in rng.choice(SHAPES, min(len(SHAPES), max(2, n - 2)), replace=False)]
    textures = ["plain", str(rng.choice(TEXTURES))]
    all_looks: list[Looks] = []
    while len(all_looks) < n:
        one = Looks(
            "large" if rng.random() < large else "small",
            str(rng.choice(palette)),
            str(rng.choice(textures)),
            str(rng.choice(kinds)),
        )
        alike = 1 if rng.random() < 0.45 else int(rng.integers(2, 4))
        all_looks += [one] * min(alike, n - len(all_looks))
    return all_looks


def _made_visible(rng: Generator, looks: Looks, motion: str) -> Looks:
    """A spinning disc must have a texture that turns; an object that grows starts small; a wall hides small objects."""
    if motion == "spin" and looks.shape == "circle" and looks.texture in ("plain", "dotted"):
        return replace(looks, texture=str(rng.choice(["striped", "checked"])))
    if motion in GROWTH:
        return replace(looks, size="small" if motion == "grow" else "large")
    return replace(looks, size="small") if motion == "hide" else looks


class _Crew:
    """Places objects one after the other where they hide little of each other."""

    def __init__(self, rng: Generator, n_frames: int, size: Size) -> None:
        self.rng, self.n_frames, self.size = rng, n_frames, size
        self.things: list[Thing] = []
        self.walls: list[Wall] = []

    def add(self, looks: Sequence[Looks], motion: str, when: float | None) -> None:
        radii = [float(rounded(np.array(self.rng.uniform(*RADII[one.size])))) for one in looks]
        if motion == "hide" and self.walls:
            motion = "straight"  # one wall is enough
        tries = [self._try(motion, radii, when) for _ in range(5)]
        paths, wall = min(tries, key=lambda attempt: self._crowding(attempt[0], radii))
        self.walls += [wall] if wall else []
        for one, path_T2, radius in zip(looks, paths, radii):
            radius_T, angle_T = self._changes(motion, radius)
            self.things.append(Thing(one.shape, one.colour, one.texture, one.size, motion, path_T2, radius_T, angle_T))

    def _try(self, motion: str, radii: list[float], when: float | None) -> tuple[list[Float], Wall | None]:
        largest = max(radii) * max(1.0, GROWTH.get(motion, 1.0))
        stage = Stage(self.rng, self.n_frames, self.size, largest, when)
        if motion in PAIRS:
            return list(paths_of(motion, stage, radii[0], radii[-1])), None
        if motion == "hide":
            path_T2, wall = hide(stage)
            return [path_T2], wall
        return [path_of(motion, stage)], None

    def _crowding(self, paths: list[Float], radii: list[float]) -> float:
        """Mean number of others that an object touches, over time."""
        touches = 0.0
        for path_T2, radius in zip(paths, radii):
            for other in self.things:
                apart_T = np.hypot(*(path_T2 - other.path_T2).T)
                touches += float((apart_T < 0.8 * (radius + other.radius_T)).mean())
            for wall in self.walls:
                nearest_T2 = np.clip(path_T2, (wall.x0, wall.y0), (wall.x1, wall.y1))
                touches += float((np.hypot(*(path_T2 - nearest_T2).T) < 0.8 * radius).mean())
        return touches

    def _changes(self, motion: str, radius: float) -> tuple[Float, Float]:
        """Radius and angle in every frame."""
        u_T = np.linspace(0, 1, self.n_frames)
        tilt = float(np.round(self.rng.uniform(-12, 12))) if self.rng.random() < 0.4 else 0.0
        sweep = self.rng.uniform(200, 540) * self.rng.choice([-1, 1]) if motion == "spin" else 0.0
        return rounded(radius * GROWTH.get(motion, 1.0) ** u_T), tilt + sweep * u_T


def _camera(rng: Generator, n_frames: int) -> Float:
    """(T, 2) stands, drifts or sways, by at most 4 pixels either way; in multiples of 1/16."""
    u_T = np.linspace(-1, 1, n_frames)
    kind, reach_2 = rng.random(), rng.uniform(-4, 4, 2)
    if kind < 0.4:
        return np.zeros((n_frames, 2))
    if kind < 0.75:
        return rounded(u_T[:, None] * reach_2)
    return rounded(np.sin(np.pi * u_T * rng.uniform(0.6, 1.5))[:, None] * reach_2)


def _pick(rng: Generator, weights: dict[Any, float]) -> Any:
    """A key, as often as its weight says."""
    edges = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]
