"""Which objects of a scene a description fits: exactly these, or unclear.

Three truths, ordered: false 0 < unclear 1 < true 2, so that "and" is the minimum. A description that is unclear
for any object is not used (code −1).

Legend: N objects, L looks, C clauses.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from stages.worlds.shapes.clauses import CLAUSES, EDGES_OF_TIME, FASTEST, ORDERS, OUTERMOST, RELATIONS, Order
from stages.worlds.shapes.facts import Truth, facts_of
from stages.worlds.shapes.motion import DIRECTIONS
from stages.worlds.shapes.scene import Scene, Thing

Truths = NDArray[np.uint8]  # (N,)
FALSE, UNCLEAR, TRUE = 0, 1, 2
ASPECTS = ("size", "colour", "texture", "shape")


@dataclass(frozen=True)
class Looks:
    """What a noun with its adjectives says; None leaves an aspect out."""

    size: str | None = None
    colour: str | None = None
    texture: str | None = None
    shape: str | None = None

    @property
    def n_words(self) -> int:
        return sum(getattr(self, aspect) is not None for aspect in ASPECTS)


@dataclass(frozen=True)
class Description:
    """A noun phrase: looks, a clause by its name (None = looks alone), and its landmark, if any."""

    looks: Looks
    clause: str | None = None
    landmark: Looks | None = None


class Judge:
    """Evaluates descriptions on one scene."""

    def __init__(self, scene: Scene) -> None:
        self.things = scene.things
        self.facts = facts_of(scene)
        objects = self.facts.objects
        self._clauses = {name: _truths(c.holds(f) for f in objects) for name, c in CLAUSES.items()}
        n = range(len(objects))
        self._relations = {
            name: np.stack([_truths(False if i == j else r.holds(self.facts, i, j) for i in n) for j in n])
            for name, r in RELATIONS.items()
        }

    def referred(self, description: Description) -> tuple[int, ...] | None:
        """The objects that the description is true of; None where it is unclear for any."""
        nouns_N, clause, landmark = self.fits(description.looks), description.clause, description.landmark
        if clause is None:
            truths_N: Truths | None = nouns_N
        elif clause in CLAUSES:
            truths_N = np.minimum(nouns_N, self._clauses[clause])
        elif landmark is not None:
            at = members(self.fits(landmark))
            truths_N = np.minimum(nouns_N, self._relations[clause][at[0]]) if at and len(at) == 1 else None
        else:
            truths_N = self.among(clause, nouns_N)
        return None if truths_N is None else members(truths_N)

    def fits(self, looks: Looks) -> Truths:
        """(N,) whether each object has these looks. The size of one that grows or shrinks is unclear."""
        return np.array([self._fits(thing, looks) for thing in self.things], np.uint8)

    def _fits(self, thing: Thing, looks: Looks) -> int:
        if any(getattr(looks, a) not in (None, getattr(thing, a)) for a in ASPECTS[1:]):
            return FALSE
        if looks.size is not None and np.ptp(thing.radius_T) > 0:
            return UNCLEAR
        return TRUE if looks.size in (None, thing.size) else FALSE

    def clause(self, name: str) -> Truths:
        """(N,) of each object."""
        return self._clauses[name]

    def relation(self, name: str, landmark: int) -> Truths:
        """(N,) of each object to that landmark."""
        return self._relations[name][landmark]

    def among(self, name: str, nouns_N: Truths) -> Truths | None:
        """(N,) of clauses that compare the objects of the noun with each other; None = unclear."""
        chosen = members(nouns_N)
        if chosen is None or len(chosen) < 2:
            return None
        if name in ORDERS:
            referred = self._in_order(ORDERS[name], chosen)
        elif name in RELATIONS:
            referred = self._mutual(name, chosen)
        elif name in FASTEST:
            referred = self._by_speed(chosen, fastest=name == "fastest")
        else:
            referred = self._outermost(name, chosen)
        if referred is None:
            return None
        truths_N = np.zeros(len(self.things), np.uint8)
        truths_N[list(referred)] = TRUE
        return truths_N

    def _in_order(self, order: Order, chosen: tuple[int, ...]) -> tuple[int, ...] | None:
        """The first or last of two or more that do it, by a tenth of the clip."""
        truths = self._clauses[order.clause][list(chosen)]
        if (truths == UNCLEAR).any() or (truths == TRUE).sum() < 2:
            return None
        doers = [i for i, truth in zip(chosen, truths) if truth == TRUE]
        times = {i: order.time(self.facts.objects[i]) * (-1 if order.last else 1) for i in doers}
        first, second = sorted(doers, key=lambda i: times[i])[:2]
        clear = max(3, 0.1 * len(self.facts.objects[0].radius_T))
        return (first,) if times[second] - times[first] >= clear else None

    def _mutual(self, name: str, chosen: tuple[int, ...]) -> tuple[int, ...] | None:
        """The only two of them that do it, or none."""
        pairs = [(i, j) for i in chosen for j in chosen if i < j]
        truths = [int(self._relations[name][j, i]) for i, j in pairs]
        if UNCLEAR in truths or truths.count(TRUE) > 1:
            return None
        return pairs[truths.index(TRUE)] if TRUE in truths else ()

    def _by_speed(self, chosen: tuple[int, ...], *, fastest: bool) -> tuple[int, ...] | None:
        """The one that travels half as far again as the next; all of them move and can be watched."""
        objects = [self.facts.objects[i] for i in chosen]
        if not all(f.in_plain_sight and not f.gone_T.any() and f.travel >= 8 for f in objects):
            return None
        ranks = np.argsort([-f.travel if fastest else f.travel for f in objects], kind="stable")
        best, next_best = objects[ranks[0]].travel, objects[ranks[1]].travel
        return (chosen[ranks[0]],) if max(best, next_best) >= 1.5 * min(best, next_best) else None

    def _outermost(self, name: str, chosen: tuple[int, ...]) -> tuple[int, ...] | None:
        """The one that is farthest that way, by 5 pixels: all the time, or at one end of the clip."""
        side, _, when = name.partition(" ")
        times = slice(None) if not when else [EDGES_OF_TIME[when][0]]
        unit = np.array(DIRECTIONS[OUTERMOST[side][0]])
        objects = [self.facts.objects[i] for i in chosen]
        if not all((f.coverage_T[times] >= 0.5).all() and f.shown_T[times].mean() > 0.7 for f in objects):
            return None
        along_NT = np.stack([f.image_T2[times] @ unit for f in objects])
        best = int(along_NT.mean(1).argmax())
        others_NT = np.delete(along_NT, best, 0)
        return (chosen[best],) if (along_NT[best] - others_NT >= 5).all() else None


# Clauses that compare the objects of a noun with each other, by name.
AMONG: tuple[str, ...] = (
    *ORDERS,
    *FASTEST,
    *OUTERMOST,
    *(f"{side} {when}" for side, when in product(OUTERMOST, EDGES_OF_TIME)),
    *(name for name, relation in RELATIONS.items() if relation.mutual),
)


def members(truths_N: Truths) -> tuple[int, ...] | None:
    """Where it is true; None where it is unclear for any."""
    return None if (truths_N == UNCLEAR).any() else tuple(int(i) for i in np.flatnonzero(truths_N))


def all_looks(things: tuple[Thing, ...]) -> list[Looks]:
    """Every choice of words that are true of some object of the scene, of at most three aspects."""
    values = [(None, *dict.fromkeys(getattr(thing, aspect) for thing in things)) for aspect in ASPECTS]
    return [looks for looks in (Looks(*words) for words in product(*values)) if looks.n_words <= 3]


def shorter(looks: Looks) -> Iterator[tuple[str, Looks]]:
    """The looks without one of their words, each with the aspect that was removed."""
    for aspect in ASPECTS:
        if getattr(looks, aspect) is not None:
            yield aspect, replace(looks, **{aspect: None})


def kind_of(clause: str | None) -> str:
    """Of a sentence that refers to one object: appearance, position, motion, relation or order."""
    if clause is None:
        return "appearance"
    if clause in CLAUSES:
        return CLAUSES[clause].kind
    if clause in RELATIONS:
        return "relation"
    return "order" if clause in ORDERS else "motion" if clause in FASTEST else "position"


def needs_motion(clause: str | None) -> bool:
    """Whether one frame is not enough to tell."""
    if clause is not None and clause in RELATIONS:
        return RELATIONS[clause].of_motion
    return kind_of(clause) in ("motion", "order") or (clause or "").endswith(tuple(EDGES_OF_TIME))


def _truths(truths: Iterable[Truth]) -> Truths:
    return np.array([UNCLEAR if t is None else TRUE if t else FALSE for t in truths], np.uint8)
