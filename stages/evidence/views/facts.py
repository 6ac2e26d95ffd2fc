"""View `facts`: the course of a candidate in words, computed from its boxes.

    enters left, before 3, first, stops for good, after 2, moves right then up right, overall right, faster than 2, fastest,
    starts at top left, ends at right, ends outermost right, left of 2, follows 3

Models are weak at motion; geometry is not. Numbers are those of the other candidates. Lengths are relative to the
picture and to the candidates' own extents; motion is what remains when the camera's is taken away (camera.py).

Legend: N candidates, T frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stages.evidence.questions import Parts
from stages.evidence.views.course import MOVED, Course, Floats, courses_of, direction
from stages.evidence.views.pairs import relations
from stages.evidence.views.scene import Scene

STILL_STRETCH = 0.014  # sides: less in a quarter of the course is no movement
GROWS = 1.28
BENDS = 40.0, 200.0  # degrees in all: a curve, a circle
AT_EDGE = 0.055  # sides between the box and the edge
LATE = 0.06  # share of the video: what begins later was not there from the start
AHEAD = 0.08  # share of the video: events are one after the other
FASTER, OUTER = 1.3, 0.035
KEPT_SCENES = 4


@dataclass(frozen=True)
class Phrase:
    """A statement; `others` are candidates, named by their numbers after its words."""

    words: str
    others: tuple[int, ...] = ()


@dataclass(frozen=True)
class Facts:
    """The view; it has no settings."""

    in_context: bool = False

    def shared(self, scene: Scene, frames: Sequence[int]) -> Parts:
        return ()

    def block(self, scene: Scene, n: int, number: int, frames: Sequence[int]) -> Parts:
        return (in_words(facts_of(scene)[n], number - n),)


def in_words(phrases: Sequence[Phrase], first: int) -> str:
    """The phrases as text; candidate 0 carries the number `first`."""
    said = [" ".join(["", p.words, *(str(first + other) for other in p.others)]) for p in phrases]
    return ",".join(said)


@lru_cache(maxsize=KEPT_SCENES)
def facts_of(scene: Scene) -> tuple[tuple[Phrase, ...], ...]:
    """What can be said of every candidate; the same for the same scene."""
    courses = courses_of(scene)
    related = relations(scene, courses)
    found: list[list[Phrase]] = [[] for _ in courses]
    events = [_events(course) if course else {} for course in courses]
    for n, course in enumerate(courses):
        if course is None:
            found[n].append(Phrase("hardly seen"))
            continue
        found[n] += _told(n, events)
        found[n] += _moves(course)
        found[n] += _compared(n, courses)
        found[n] += _places(n, course, courses)
        found[n] += [Phrase(name, tuple(others)) for name, others in related[n].items()]
    return tuple(tuple(phrases) for phrases in found)


def _events(course: Course) -> dict[str, float]:
    """What happens to it → when, as a share of the video."""
    events: dict[str, float] = {}
    n_frames = course.n_frames
    if course.first > max(1, LATE * n_frames):
        name = f"enters {course.nearest_edge(0)}" if course.gap(0) < AT_EDGE else "appears inside"
        events[name] = course.first / n_frames
    events |= _away(course)
    if course.turn is not None:
        name = "bounces at the edge" if course.gap(course.turn) < AT_EDGE else "turns back inside"
        events[name] = (course.first + course.turn) / n_frames
    if course.stand is not None:
        start, stop = course.stand
        before, after = course.moved(0, start + 1) > MOVED, course.moved(stop - 1, len(course.world_T2)) > MOVED
        if before:
            events["pauses" if after else "stops for good"] = (course.first + start) / n_frames
        elif after:
            events["sets off late"] = (course.first + stop) / n_frames
    if course.last < n_frames - 1 - max(1, LATE * n_frames):
        name = f"leaves {course.nearest_edge(-1)}" if course.gap(-1) < AT_EDGE else "vanishes inside"
        events[name] = course.last / n_frames
    return events


def _away(course: Course) -> dict[str, float]:
    """Whether it is out of sight for a while, and whether the edge or something else takes it."""
    gone = np.flatnonzero(~course.seen_T)
    runs = [run for run in np.split(gone, np.flatnonzero(np.diff(gone) > 1) + 1) if len(run) >= 2]
    if not runs:
        return {}
    longest = max(runs, key=len)
    before = int(longest[0]) - 1
    name = "leaves and returns" if course.touches_T4[before].any() else "hidden for a while"
    return {name: (course.first + before) / course.n_frames}


# The same kind of event happens to others, too: first words of their names.
KINDS = ("enters", "leaves", "bounces", "turns", "stops", "sets", "vanishes", "hidden")


def _told(n: int, events: Sequence[dict[str, float]]) -> list[Phrase]:
    """The events of a candidate in order of time, and which others do the same earlier or later."""
    phrases = []
    for name, time in sorted(events[n].items(), key=lambda item: item[1]):
        phrases.append(Phrase(name))
        kind = _kind(name)
        for word, sign in (("before", 1), ("after", -1)):
            others = [
                m
                for m, of in enumerate(events)
                if m != n and any(_kind(k) == kind and sign * (t - time) >= AHEAD for k, t in of.items())
            ]
            if others and kind:
                phrases.append(Phrase(word, tuple(others)))
        phrases += [Phrase(rank) for rank in _rank(n, kind, time, events)]
    return phrases


def _rank(n: int, kind: str, time: float, events: Sequence[dict[str, float]]) -> list[str]:
    """Whether it is clearly the first or the last of all that do it."""
    if not kind:
        return []
    others = [[t - time for k, t in of.items() if _kind(k) == kind] for m, of in enumerate(events) if m != n]
    later = [min(apart) for apart in others if apart]
    earlier = [-max(apart) for apart in others if apart]
    return [word for word, ahead in (("first", later), ("last", earlier)) if ahead and min(ahead) >= AHEAD]


def _kind(name: str) -> str:
    first = name.split()[0]
    return "vanishes" if first == "hidden" else first if first in KINDS else ""


def _moves(course: Course) -> list[Phrase]:
    """Directions, bends and growth."""
    phrases = []
    if course.moves:
        phrases.append(Phrase(_way(course)))
        degrees, steady = course.bend
        if abs(degrees) > BENDS[1] and steady > 0.8:
            phrases.append(Phrase("in a circle"))
        elif abs(degrees) > BENDS[0] and steady > 0.8 and course.turn is None:
            phrases.append(Phrase("on a curve"))
    else:
        phrases.append(Phrase("never moves"))
    growth = course.growth()
    if growth > GROWS or growth < 1 / GROWS:
        phrases.append(Phrase("grows" if growth > 1 else "shrinks"))
    return phrases


def _way(course: Course) -> str:
    """The directions one after the other, equal ones once, and the one from the first to the last place."""
    path_T2, t = course.world_T2, course.turn
    overall = direction(path_T2[-1] - path_T2[0], MOVED)
    if t is not None:
        return f"moves {direction(path_T2[t] - path_T2[0], 0)} then back {direction(path_T2[-1] - path_T2[t], 0)}"
    steps = [direction(step_2, STILL_STRETCH) for step_2 in course.stretches()]
    steps = [step for step, before in zip(steps, ["", *steps]) if step != before]
    return f"moves {' then '.join(steps)}" + ("" if steps == [overall] else f", overall {overall}")


def _compared(n: int, courses: Sequence[Course | None]) -> list[Phrase]:
    """Which other movers are clearly slower and faster, and whether all of them are."""
    mine = courses[n]
    assert mine is not None
    if not mine.moves:
        return []
    pace = {m: c.travel / len(c.world_T2) for m, c in enumerate(courses) if c is not None and c.moves}
    slower = tuple(m for m, speed in pace.items() if m != n and pace[n] > FASTER * speed)
    faster = tuple(m for m, speed in pace.items() if m != n and speed > FASTER * pace[n])
    phrases = []
    for words, others, rank in (("faster than", slower, "fastest"), ("slower than", faster, "slowest")):
        if others:
            phrases.append(Phrase(words, others))
            phrases += [Phrase(rank)] if len(others) == len(pace) - 1 else []
    return phrases


def _places(n: int, course: Course, courses: Sequence[Course | None]) -> list[Phrase]:
    """Where in the picture it starts and ends, where it always is, and whether it is the outermost of all."""
    width, height = course.frame_2
    start, end = (_part(course.image_T2[t], width, height) for t in (0, -1))
    phrases = [Phrase(f"starts at {start}"), Phrase(f"ends at {end}")]
    x_T, y_T = course.image_T2[course.seen_T, 0] / width, course.image_T2[course.seen_T, 1] / height
    for values_T, low, high in ((x_T, "left", "right"), (y_T, "top", "bottom")):
        if values_T.max() < 0.42:
            phrases.append(Phrase(f"always {low}"))
        elif values_T.min() > 0.58:
            phrases.append(Phrase(f"always {high}"))
    return phrases + [Phrase(words) for words in _ranks(n, course, courses)]


def _ranks(n: int, course: Course, courses: Sequence[Course | None]) -> list[str]:
    """Where it is the outermost of all: on average and at both ends of the video, or at one end."""
    always = _outermost(n, [None if c is None else c.image_T2[c.seen_T].mean(0) for c in courses])
    ranks = []
    for word, t in (("starts", 0), ("ends", course.n_frames - 1)):
        if course.first <= t <= course.last:
            there = [c.image_T2[t - c.first] if c is not None and c.first <= t <= c.last else None for c in courses]
            edges = _outermost(n, there)
            always = [edge for edge in always if edge in edges]
            ranks += [(word, edge) for edge in edges]
    at_one_end = [f"{word} outermost {edge}" for word, edge in ranks if edge not in always]
    return [f"outermost {edge}" for edge in always] + at_one_end


def _part(point_2: Floats, width: float, height: float) -> str:
    x, y = point_2[0] / width, point_2[1] / height
    column = "left" if x < 0.36 else "right" if x > 0.64 else ""
    row = "top" if y < 0.36 else "bottom" if y > 0.64 else ""
    return f"{row} {column}".strip() or "centre"


def _outermost(n: int, places: Sequence[Floats | None]) -> list[str]:
    """The edges that it is nearest to, of all candidates that have a place, by a clear distance."""
    mine_2 = places[n]
    others = [place_2 for m, place_2 in enumerate(places) if m != n and place_2 is not None]
    if mine_2 is None:
        return []
    key: dict[str, Callable[[Floats], float]] = {
        "left": lambda v: float(-v[0]),
        "right": lambda v: float(v[0]),
        "top": lambda v: float(-v[1]),
        "bottom": lambda v: float(v[1]),
    }
    return [edge for edge, along in key.items() if others and all(along(mine_2) > along(o) + OUTER for o in others)]
