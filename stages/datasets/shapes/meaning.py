"""What the words mean, evaluated on a scene: true, false, or unclear (None) of an object.

A word is true where everyone would say it and false where no one would. In between it is unclear, and a
sentence for which any object is unclear is not used: what remains fits exactly the objects it names.

Legend: T frames; paths are (T, 2) of x (right) and y (down) in pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stages.datasets.shapes.draw import footprint, visible_masks
from stages.datasets.shapes.motion import DIRECTIONS, HEIGHT, WIDTH
from stages.datasets.shapes.scene import Scene

Truth = bool | None


@dataclass(frozen=True)
class Facts:
    """What the words look at: an object's path, and the shares of it in the image and in sight, by frame."""

    radius: float
    path_T2: NDArray[np.float64]
    coverage_T: NDArray[np.float64]
    sight_T: NDArray[np.float64]

    @classmethod
    def of(cls, scene: Scene) -> list["Facts"]:
        """Of all objects of a scene."""
        masks_NTHW, full_N = visible_masks(scene.things)
        facts = []
        for thing, masks_THW, full in zip(scene.things, masks_NTHW, full_N):
            areas = [footprint(thing.shape, thing.radius, x, y).sum() for x, y in thing.path_T2]
            sight_T = np.count_nonzero(masks_THW, axis=(1, 2)) / full
            facts.append(cls(thing.radius, thing.path_T2, np.array(areas) / full, sight_T))
        return facts

    @property
    def in_plain_sight(self) -> bool:
        """Whether it can be watched: little of it is hidden for three quarters of its time in the image."""
        shown_T = self.sight_T >= 0.5 * self.coverage_T
        return bool(shown_T[self.coverage_T > 0].mean() >= 0.75)

    @property
    def steps_S2(self) -> NDArray[np.float64]:
        return np.diff(self.path_T2, axis=0)

    @property
    def speed_S(self) -> NDArray[np.float64]:
        return np.hypot(*self.steps_S2.T)


def moves(direction: str, facts: Facts) -> Truth:
    """Steadily and mainly that way; false where it never gets 4 pixels that way."""
    unit = np.array(DIRECTIONS[direction])
    along_T = facts.path_T2 @ unit
    across = abs(facts.path_T2[-1] - facts.path_T2[0]) @ (1 - abs(unit))
    gained = along_T[-1] - along_T[0]
    if (np.diff(along_T) >= 0).all() and gained >= 15 and across <= gained / 2:
        return True
    best = (along_T - np.minimum.accumulate(along_T)).max()
    return False if best < 4 else None


def stops(facts: Facts) -> Truth:
    """Stands for 4 steps or more after it has moved; false where no step is short."""
    steps = "".join("s" if speed < 0.1 else "m" for speed in facts.speed_S)
    if "ssss" in steps.lstrip("s"):
        return True
    return False if (facts.speed_S > 0.8).all() else None


def bounces(facts: Facts) -> Truth:
    """Turns back at once, at the border; false where it never turns sharply."""
    before, after = facts.steps_S2[:-1], facts.steps_S2[1:]
    moving = (np.hypot(*before.T) > 0.1) & (np.hypot(*after.T) > 0.1)
    turn = _turns(before, after)[moving]
    x, y = facts.path_T2[1:-1][moving].T
    near = np.minimum.reduce([x, WIDTH - x, y, HEIGHT - y]) <= facts.radius + 6
    if ((abs(turn) > 100) & near).any():
        return True
    return False if (abs(turn) < 60).all() else None


def circles(facts: Facts) -> Truth:
    """Turns one way all the time, 240° or more in all; false where it keeps its line or turns at one point."""
    turn = _turns(facts.steps_S2[:-1], facts.steps_S2[1:])
    if (facts.speed_S > 0.5).all() and abs(turn.sum()) >= 240 and (turn * np.sign(turn.sum()) > 0).all():
        return True
    return False if (abs(turn) > 8).sum() <= 2 else None


def enters(facts: Facts) -> Truth:
    """Starts out of the image and ends well inside; false where it is seen in it at the start."""
    if facts.coverage_T[0] == 0 and facts.coverage_T[-1] >= 0.5:
        return True
    return False if min(facts.coverage_T[0], 2 * facts.sight_T[0]) >= 0.9 else None


def leaves(facts: Facts) -> Truth:
    """Starts well inside the image and ends out of it; false where it is seen in it at the end."""
    return enters(Facts(facts.radius, facts.path_T2[::-1], facts.coverage_T[::-1], facts.sight_T[::-1]))


def lies(direction: str, facts: Facts) -> Truth:
    """In that part of the image whenever it is seen; false where always in the other half."""
    unit = np.array(DIRECTIONS[direction])
    half = abs(unit) @ np.array([WIDTH, HEIGHT]) / 2
    offset_T = ((facts.path_T2 - np.array([WIDTH, HEIGHT]) / 2) @ unit)[facts.coverage_T > 0]
    if (offset_T >= 0.3 * half).all():
        return True
    return False if (offset_T <= 0).all() else None


@dataclass(frozen=True)
class Clause:
    """What may follow a noun: its wordings in singular and plural, and its meaning."""

    wordings: tuple[tuple[str, str], ...]
    means: Callable[[Facts], Truth]
    of_motion: bool = True

    def holds(self, facts: Facts) -> Truth:
        """Of a motion that can hardly be watched, nothing is said to be true."""
        truth = self.means(facts)
        return None if truth and self.of_motion and not facts.in_plain_sight else truth


def _heading(direction: str, words: str) -> Clause:
    wordings = (f"moving {direction}",) * 2, (f"that moves {words}", f"that move {words}")
    return Clause(wordings, partial(moves, direction))


def _place(words: str, direction: str) -> Clause:
    return Clause(((words,) * 2,), partial(lies, direction), of_motion=False)


CLAUSES: Mapping[str, Clause] = {
    "moves left": _heading("left", "to the left"),
    "moves right": _heading("right", "to the right"),
    "moves up": _heading("up", "upwards"),
    "moves down": _heading("down", "downwards"),
    "stops": Clause((("that stops", "that stop"), ("that halts for a while", "that halt for a while")), stops),
    "bounces": Clause((("that bounces", "that bounce"), ("bouncing off the edge",) * 2), bounces),
    "circles": Clause((("moving in a circle", "moving in circles"), ("that goes round", "that go round")), circles),
    "enters": Clause((("entering the picture",) * 2, ("that comes in from the edge", "that come in from the edge")), enters),
    "leaves": Clause((("leaving the picture",) * 2, ("that goes off the edge", "that go off the edge")), leaves),
    "lies left": _place("on the left", "left"),
    "lies right": _place("on the right", "right"),
    "lies up": _place("at the top", "up"),
    "lies down": _place("at the bottom", "down"),
}  # fmt: skip


@dataclass(frozen=True)
class Description:
    """A noun phrase without its number; None leaves a part out."""

    size: str | None = None
    colour: str | None = None
    shape: str | None = None
    clause: str | None = None


class Judge:
    """Evaluates descriptions on one scene."""

    def __init__(self, scene: Scene) -> None:
        self.things = scene.things
        facts = Facts.of(scene)
        self._clauses = {name: [clause.holds(f) for f in facts] for name, clause in CLAUSES.items()}

    def referred(self, description: Description) -> tuple[int, ...] | None:
        """The objects that the description is true of; None where it is unclear of any."""
        truths = [self._fits(description, i) for i in range(len(self.things))]
        return None if None in truths else tuple(i for i, truth in enumerate(truths) if truth)

    def _fits(self, description: Description, i: int) -> Truth:
        for part in ("size", "colour", "shape"):
            if getattr(description, part) not in (None, getattr(self.things[i], part)):
                return False
        return True if description.clause is None else self._clauses[description.clause][i]


def _turns(before_S2: NDArray[np.float64], after_S2: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) signed angles between steps in degrees, 0 where one of them is none."""
    cross = before_S2[:, 0] * after_S2[:, 1] - before_S2[:, 1] * after_S2[:, 0]
    return np.degrees(np.arctan2(cross, (before_S2 * after_S2).sum(1)))
