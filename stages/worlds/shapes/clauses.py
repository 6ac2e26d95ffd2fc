"""The clauses that sentences are made of: how they are worded, and when they hold.

A wording is a template of the whole phrase, in the singular and in the plural: {noun} takes "red star", {number}
"two", {other} the landmark of a relation, "the small square".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from stages.worlds.shapes import relations, words
from stages.worlds.shapes.facts import Facts, SceneFacts, Truth

Wordings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Clause:
    """A statement about one object."""

    wordings: Wordings
    means: Callable[[Facts], Truth]
    kind: str = "motion"
    unwatched: bool = False  # may be said of an object that is long out of sight

    @property
    def of_motion(self) -> bool:
        return self.kind == "motion"

    def holds(self, facts: Facts) -> Truth:
        """A motion that can hardly be watched is never true."""
        truth = self.means(facts)
        return None if truth and self.of_motion and not (self.unwatched or facts.in_plain_sight) else truth


@dataclass(frozen=True)
class Relation:
    """A relation of an object to a landmark; `mutual` ones hold between two objects and refer to both."""

    wordings: Wordings
    means: Callable[[SceneFacts, int, int], Truth]
    of_motion: bool = True
    mutual: bool = False

    def holds(self, facts: SceneFacts, one: int, other: int) -> Truth:
        """As `Clause.holds`: motion has to be watched."""
        truth = self.means(facts, one, other)
        watched = facts.objects[one].in_plain_sight and facts.objects[other].in_plain_sight
        return None if truth and self.of_motion and not watched else truth


@dataclass(frozen=True)
class Order:
    """The one among several that does something first, or last."""

    clause: str  # what they do
    time: Callable[[Facts], int]  # the frame in which it happens
    last: bool
    wordings: Wordings


def _that(singular: str, plural: str, *phrases: str) -> Wordings:
    """Wordings with "that" and a verb, and with phrases that are the same in both numbers."""
    pairs = [(f"the {{noun}} that {singular}", f"the {{number}} {{noun}} that {plural}")]
    return (*pairs, *((f"the {{noun}} {phrase}", f"the {{number}} {{noun}} {phrase}") for phrase in phrases))


def _heading(direction: str, way: str) -> Clause:
    phrases = (f"moving {way}", f"going {direction}")
    return Clause(_that(f"moves {way}", f"move {way}", *phrases), partial(words.moves, direction))


def _back(direction: str, opposite: str) -> Clause:
    way = f"{direction}, then back {opposite}"
    return Clause(
        _that(f"goes {way}", f"go {way}", f"moving {direction} at first and {opposite} later"),
        partial(words.there_and_back, direction),
    )


def _place(direction: str, *phrases: str) -> Clause:
    pairs = tuple((f"the {{noun}} {phrase}", f"the {{number}} {{noun}} {phrase}") for phrase in phrases)
    return Clause(pairs, partial(words.lies, direction), kind="position")


CLAUSES: Mapping[str, Clause] = {
    "moves left": _heading("left", "to the left"),
    "moves right": _heading("right", "to the right"),
    "moves up": _heading("up", "upwards"),
    "moves down": _heading("down", "downwards"),
    "stays": Clause(_that("does not move", "do not move", "standing still", "staying where it is")[:2], words.stays),
    "stops": Clause(_that("moves and then stops for good", "move and then stop for good", "coming to a halt"), words.stops),
    "stops and goes": Clause(_that("stops for a while and moves on", "stop for a while and move on", "pausing on the way"), words.stops_and_goes),
    "sets off": Clause(_that("stands still before it moves", "stand still before they move", "starting to move late"), words.sets_off),
    "turns round": Clause(_that("turns round without touching the edge", "turn round without touching the edge", "turning back in mid-air"), words.turns_round),
    "bounces": Clause(_that("bounces off the edge", "bounce off the edge", "bouncing back from the border"), words.bounces),
    "left and right": _back("left", "right"),
    "right and left": _back("right", "left"),
    "up and down": _back("up", "down"),
    "down and up": _back("down", "up"),
    "circles": Clause(_that("goes round in a circle", "go round in circles", "moving around on a circular path"), words.circles),
    "curves": Clause(_that("moves along a curve", "move along a curve", "following a bent path"), words.curves),
    "enters": Clause(_that("comes into the picture", "come into the picture", "entering from outside"), words.enters, unwatched=True),
    "leaves": Clause(_that("leaves the picture for good", "leave the picture for good", "moving out of sight over the edge"), words.leaves, unwatched=True),
    "returns": Clause(_that("leaves the picture and comes back", "leave the picture and come back", "going out and coming in again"), words.returns, unwatched=True),
    "hides": Clause(_that("disappears behind the wall", "disappear behind the wall", "going behind the wall"), words.hides, unwatched=True),
    "reappears": Clause(_that("passes behind the wall", "pass behind the wall", "coming out from behind the wall"), words.hides_and_reappears, unwatched=True),
    "hides for good": Clause(_that("hides behind the wall and stays there", "hide behind the wall and stay there", "vanishing behind the wall for good"), words.hides_for_good, unwatched=True),
    "grows": Clause(_that("grows", "grow", "getting bigger"), words.grows),
    "shrinks": Clause(_that("shrinks", "shrink", "getting smaller"), words.shrinks),
    "spins": Clause(_that("spins", "spin", "turning about its own centre", "rotating")[:1] + _that("rotates", "rotate", "spinning around"), words.spins),
    "lies left": _place("left", "on the left", "in the left part of the picture"),
    "lies right": _place("right", "on the right", "in the right part of the picture"),
    "lies up": _place("up", "at the top", "in the upper part of the picture"),
    "lies down": _place("down", "at the bottom", "in the lower part of the picture"),
}  # fmt: skip


def _side(direction: str, *phrases: str) -> Relation:
    pairs = tuple((f"the {{noun}} {p} {{other}}", f"the {{number}} {{noun}} {p} {{other}}") for p in phrases)
    return Relation(pairs, partial(relations.lies_of, direction), of_motion=False)


def _each_other(means: Callable[[SceneFacts, int, int], Truth], *phrases: str) -> Relation:
    return Relation(tuple(("", f"the two {{noun}} {phrase}") for phrase in phrases), means, mutual=True)


RELATIONS: Mapping[str, Relation] = {
    "left of": _side("left", "left of", "to the left of"),
    "right of": _side("right", "right of", "to the right of"),
    "above": _side("up", "above", "over"),
    "below": _side("down", "below", "under"),
    "follows": Relation(_that("follows {other}", "follow {other}", "moving behind {other} on its path"), relations.follows),
    "overtakes": Relation(_that("overtakes {other}", "overtake {other}", "getting ahead of {other}"), relations.overtakes),
    "is followed by": Relation(_that("is followed by {other}", "are followed by {other}"), lambda f, i, j: relations.follows(f, j, i)),
    "is overtaken by": Relation(_that("is overtaken by {other}", "are overtaken by {other}"), lambda f, i, j: relations.overtakes(f, j, i)),
    "circles around": Relation(_that("circles around {other}", "circle around {other}", "moving round {other}"), relations.circles_around),
    "covers": Relation(_that("passes in front of {other}", "pass in front of {other}", "covering {other} for a moment"), relations.covers),
    "circle each other": _each_other(relations.circle_each_other, "that circle each other", "going round each other"),
    "approach": _each_other(relations.approach_each_other, "that approach each other", "moving towards each other"),
    "part": _each_other(relations.part, "that move apart", "going away from each other"),
}  # fmt: skip


def _first_to(verb: str, verbs: str, clause: str, time: Callable[[Facts], int]) -> dict[str, Order]:
    """The first one and the last one to do something."""
    return {
        f"{which} {clause}": Order(
            clause,
            time,
            which == "last",
            ((f"the {which} {{noun}} to {verb}", ""), (f"the {{noun}} that {verbs} {which}", "")),
        )
        for which in ("first", "last")
    }


def _last_seen(facts: Facts) -> int:
    return int(len(facts.gone_T) - 1 - (~facts.gone_T[::-1]).argmax())


ORDERS: Mapping[str, Order] = {
    **_first_to("leave the picture", "leaves the picture", "leaves", _last_seen),
    **_first_to("enter the picture", "enters the picture", "enters", lambda f: int((~f.gone_T).argmax())),
    **_first_to("stop for good", "stops for good", "stops", lambda f: (words.stand_of(f) or (0, 0))[0]),
    **_first_to("set off", "sets off", "sets off", lambda f: (words.stand_of(f) or (0, 0))[1]),
    **_first_to("turn round", "turns round", "turns round", lambda f: words.reversal_of(f) or 0),
    **_first_to("bounce", "bounces", "bounces", lambda f: words.reversal_of(f) or 0),
    **_first_to("disappear behind the wall", "disappears behind the wall", "hides", lambda f: words.hiding_of(f) or 0),
}
FASTEST: Mapping[str, Wordings] = {
    "fastest": (("the fastest {noun}", ""), ("the {noun} that moves fastest", "")),
    "slowest": (("the slowest moving {noun}", ""), ("the {noun} that moves slowest", "")),
}
OUTERMOST: Mapping[str, tuple[str, Wordings]] = {
    "leftmost": ("left", (("the leftmost {noun}", ""), ("the {noun} farthest to the left", ""))),
    "rightmost": ("right", (("the rightmost {noun}", ""), ("the {noun} farthest to the right", ""))),
    "topmost": ("up", (("the topmost {noun}", ""), ("the highest {noun}", ""))),
    "lowest": ("down", (("the lowest {noun}", ""), ("the {noun} nearest to the bottom", ""))),
}
EDGES_OF_TIME: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "at first": (0, ("at the start", "in the beginning")),
    "at last": (-1, ("at the end", "in the last moment")),
}
