"""Scenes by hand, for the tests of `shapes`."""

import numpy as np

from stages.worlds.shapes.facts import Facts, SceneFacts, facts_of
from stages.worlds.shapes.scene import Scene, Thing, Wall

SIZE = (128, 128)
Path = list[tuple[float, float]]


def thing(path: object, shape: str = "circle", radius: float = 8, colour: str = "red", **over: object) -> Thing:
    path_T2 = np.array(path, float)
    n = len(path_T2)
    size = "small" if radius < 10 else "large"
    values = {"radius_T": np.full(n, float(radius)), "angle_T": np.zeros(n), "texture": "plain"} | over
    return Thing(shape=shape, colour=colour, size=size, motion="", path_T2=path_T2, **values)  # type: ignore[arg-type]


def scene(*things: Thing, walls: tuple[Wall, ...] = (), camera: object = None) -> Scene:
    n = len(things[0].path_T2)
    return Scene(things, walls, np.zeros((n, 2)) if camera is None else np.array(camera, float), SIZE)


def facts(path: object, **over: object) -> Facts:
    return facts_of(scene(thing(path, **over))).objects[0]  # type: ignore[arg-type]


def pair(one: object, other: object) -> SceneFacts:
    return facts_of(scene(thing(one), thing(other, "square")))


def line(start: tuple[float, float], step: tuple[float, float], n: int = 12) -> Path:
    return [(start[0] + i * step[0], start[1] + i * step[1]) for i in range(n)]


def ring(centre: tuple[float, float], reach: float, degrees: float = 360, n: int = 24, start: float = 0) -> Path:
    turns = np.radians(start + np.linspace(0, degrees, n))
    return [(centre[0] + reach * np.cos(a), centre[1] + reach * np.sin(a)) for a in turns]
