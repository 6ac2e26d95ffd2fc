"""Sentences about a scene, each true of exactly the objects that it refers to.

Every description that the scene's own words allow is evaluated (`meaning`). Those that are clear and have no
needless word are sorted by kind, and a few are drawn, one kind at a time.

Legend: L looks, C clauses; column 0 of a table (L, C) is "no clause".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.worlds.shapes.clauses import CLAUSES, EDGES_OF_TIME, FASTEST, ORDERS, OUTERMOST, RELATIONS, Wordings
from stages.worlds.shapes.meaning import (
    AMONG,
    Description,
    Judge,
    Looks,
    Truths,
    all_looks,
    kind_of,
    members,
    needs_motion,
    shorter,
)
from stages.worlds.shapes.scene import Generator, Scene

NUMBERS: Mapping[int, str] = {2: "two", 3: "three", 4: "four"}
KINDS = ("appearance", "position", "motion", "relation", "order", "several", "none")
# How often a kind is drawn where the scene has it.
SHARES = {"appearance": 1.8, "position": 0.6, "motion": 3.0, "relation": 1.5, "order": 1.5, "several": 1.5, "none": 1.2}
UNCLEAR_CODE = -1
LOOKS_WORDS: Mapping[str, tuple[str, ...]] = {
    "small": ("small", "little"),
    "large": ("large", "big"),
    "dotted": ("dotted", "spotted"),
    "checked": ("checked", "chequered"),
}
NOUNS = ("object", "thing")  # where the shape is left out
Option = TypeVar("Option")
Column = tuple[str | None, int | None]  # a clause and the index of its landmark


@dataclass(frozen=True)
class Sentence:
    """A sentence, its meaning, and the indices of the objects it refers to (none for a no-target one).

    Attributes:
        parts: what it describes; two where it joins two objects with "and".
        kind: one of `KINDS`.
        motion: whether one frame is not enough to tell.
    """

    text: str
    parts: tuple[Description, ...]
    referred: tuple[int, ...]
    kind: str
    motion: bool


def sample_sentences(rng: Generator, scene: Scene, number: tuple[int, int] = (4, 7)) -> list[Sentence]:
    """Sentences of different kinds as far as the scene has them; some also in other words.

    Args:
        number: fewest and most that are drawn; a scene that allows few descriptions gives fewer.
    """
    pools = Table(Judge(scene)).pools()
    if joined := _joined(rng, pools):
        pools["several"]["and"] = joined
    n = int(rng.integers(number[0], number[1] + 1))
    weights = {kind: SHARES[kind] for kind in KINDS if pools[kind]}
    sentences: dict[str, Sentence] = {}
    for attempt in range(4 * n):
        if len(sentences) >= n:
            break
        rare = [kind for kind in ("order", "relation") if kind in weights]
        kind = rare[attempt] if attempt < len(rare) else _weighted(rng, list(weights), list(weights.values()))
        weights[kind] *= 0.5
        parts, referred = _draw(rng, pools[kind])
        for _ in range(1 if rng.random() < 0.8 else 2):
            text = word(rng, parts, len(referred))
            sentences.setdefault(
                text, Sentence(text, parts, referred, kind, any(needs_motion(p.clause) for p in parts))
            )
    return list(sentences.values())[:n]


Meant = tuple[tuple[Description, ...], tuple[int, ...]]


def _draw(rng: Generator, pool: Mapping[str, list[Meant]]) -> Meant:
    """A clause, then one of the descriptions that use it: clauses that fit many objects are not drawn more often."""
    options = pool[_weighted(rng, list(pool), [weight_of(clause) for clause in pool])]
    return _weighted(rng, options, [_weight(parts) for parts, _ in options])


def weight_of(clause: str) -> float:
    """Positions at the start or end and speeds fit nearly every scene, so they are drawn less often."""
    return 0.3 if clause.endswith(tuple(EDGES_OF_TIME)) or clause in FASTEST else 1.0


def _weight(parts: tuple[Description, ...]) -> float:
    """Nouns are more common than "thing", and a plain object is seldom called plain."""
    weight = 1.0
    for part in parts:
        weight *= (1.0 if part.looks.shape else 0.25) * (0.4 if part.looks.texture == "plain" else 1.0)
    return weight


def _weighted(rng: Generator, options: Sequence[Option], weights: Sequence[float]) -> Option:
    edges = np.cumsum(weights)
    return options[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


class Table:
    """What every look with every clause refers to: one bit per object, −1 where it is unclear."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.looks = all_looks(judge.things)
        self.index = {looks: i for i, looks in enumerate(self.looks)}
        self.landmarks = self._landmarks()
        self.columns, columns_CN = self._columns()
        nouns_LN = np.stack([judge.fits(looks) for looks in self.looks])
        shared_LC = _codes(np.minimum(nouns_LN[:, None], columns_CN[None]))
        self.codes_LC = np.concatenate([shared_LC, self._among(nouns_LN)], 1)
        self.columns += [(name, None) for name in AMONG]

    def _landmarks(self) -> dict[int, Looks]:
        """Object → the fewest words, its shape among them, that mean it alone."""
        landmarks: dict[int, Looks] = {}
        for looks in sorted(self.looks, key=lambda looks: looks.n_words):
            meant = members(self.judge.fits(looks)) if looks.shape else None
            if meant and len(meant) == 1:
                landmarks.setdefault(meant[0], looks)
        return landmarks

    def _columns(self) -> tuple[list[Column], Truths]:
        """No clause, clauses of one object, and relations to each landmark; truths (C, N)."""
        everything_N = np.full(len(self.judge.things), 2, np.uint8)
        columns: list[tuple[Column, Truths]] = [((None, None), everything_N)]
        columns += [((name, None), self.judge.clause(name)) for name in CLAUSES]
        for name, relation in RELATIONS.items():
            if not relation.mutual:
                columns += [((name, i), self.judge.relation(name, i)) for i in self.landmarks]
        return [column for column, _ in columns], np.stack([truths_N for _, truths_N in columns])

    def _among(self, nouns_LN: Truths) -> NDArray[np.int64]:
        """(L, C) of the clauses that compare; looks that mean the same objects are evaluated once."""
        codes_of: dict[bytes, list[int]] = {}
        for nouns_N in nouns_LN:
            if nouns_N.tobytes() not in codes_of:
                truths_of_names = [self.judge.among(name, nouns_N) for name in AMONG]
                codes_of[nouns_N.tobytes()] = [UNCLEAR_CODE if t is None else int(_codes(t)) for t in truths_of_names]
        return np.array([codes_of[nouns_N.tobytes()] for nouns_N in nouns_LN])

    def pools(self) -> dict[str, dict[str, list[Meant]]]:
        """Kind → clause → descriptions and what they refer to."""
        pools: dict[str, dict[str, list[Meant]]] = {kind: {} for kind in KINDS}
        for i, c in np.argwhere(self._says_enough()):
            clause, landmark = self.columns[c]
            looks, referred = self.looks[i], objects_of(int(self.codes_LC[i, c]))
            if landmark is not None and int(self.codes_LC[i, 0]) in (0, 1 << landmark):
                continue  # "the square left of the red square" where there is no other square
            meant = Description(looks, clause, None if landmark is None else self.landmarks[landmark])
            kind = kind_of(clause) if len(referred) == 1 else "several" if referred else "none"
            pools[kind].setdefault(clause or "", []).append(((meant,), referred))
        return pools

    def _says_enough(self) -> NDArray[np.bool_]:
        """(L, C) whether it is clear, refers to at most four objects, and needs every word."""
        codes_LC = self.codes_LC
        enough_LC = (codes_LC >= 0) & (np.bitwise_count(np.maximum(codes_LC, 0)) <= max(NUMBERS))
        enough_LC[:, 1:] &= codes_LC[:, 1:] != codes_LC[:, :1]
        enough_LC[self.index[Looks()], 0] = False
        return enough_LC & (self._no_word_is_idle() | self._nothing_does_so())

    def _no_word_is_idle(self) -> NDArray[np.bool_]:
        """(L, C) whether it would mean something else without any of its words.

        A shape that is there may be named without need, as people do. A description of nothing is therefore one
        word away from one of something, so it is plausible.
        """
        idle_LC = np.zeros(self.codes_LC.shape, bool)
        for i, looks in enumerate(self.looks):
            for aspect, less in shorter(looks):
                same_C = self.codes_LC[i] == self.codes_LC[self.index[less]]
                idle_LC[i] |= same_C & (self.codes_LC[i] == 0) if aspect == "shape" else same_C
        return ~idle_LC

    def _nothing_does_so(self) -> NDArray[np.bool_]:
        """(L, C) whether something has these looks, of at most two words, and no object does what the clause says."""
        few_L = np.array([1 <= looks.n_words <= 2 for looks in self.looks])
        return (self.codes_LC[self.index[Looks()]] == 0) & (self.codes_LC[:, :1] > 0) & few_L[:, None]


def _joined(rng: Generator, pools: Mapping[str, Mapping[str, list[Meant]]]) -> list[Meant]:
    """One object and another; the one with a clause comes first, since a clause said last could be about both."""
    moving = [
        meant for kind in ("motion", "order", "relation") for options in pools[kind].values() for meant in options
    ]
    others = moving + [meant for options in pools["appearance"].values() for meant in options]
    joined = []
    for _ in range(8 if moving else 0):
        one, other = (_weighted(rng, some, [_weight(parts) for parts, _ in some]) for some in (moving, others))
        short = one[0][0].landmark is None and other[0][0].landmark is None
        if short and one[1] != other[1]:
            joined.append(((*one[0], *other[0]), tuple(sorted((*one[1], *other[1])))))
    return joined


def word(rng: Generator, parts: tuple[Description, ...], n_referred: int) -> str:
    """One of the ways to say it."""
    if len(parts) == 2:
        return " and ".join(word(rng, (part,), 1) for part in parts)
    (part,) = parts
    singular, plural = any_of(rng, wordings_of(part.clause))
    landmark = f"the {_noun(rng, part.landmark, plural=False)}" if part.landmark else ""
    many = n_referred > 1 or not singular
    noun = _noun(rng, part.looks, plural=many)
    return (plural if many else singular).format(noun=noun, number=NUMBERS.get(n_referred, "two"), other=landmark)


def wordings_of(clause: str | None) -> Wordings:
    """Templates, singular and plural; an empty one is never used."""
    if clause is None:
        return (("the {noun}", "the {number} {noun}"),)
    if clause in CLAUSES:
        return CLAUSES[clause].wordings
    if clause in RELATIONS:
        return RELATIONS[clause].wordings
    if clause in ORDERS:
        return ORDERS[clause].wordings
    if clause in FASTEST:
        return FASTEST[clause]
    side, _, when = clause.partition(" ")
    phrases = EDGES_OF_TIME[when][1] if when else ("",)
    return tuple((f"{one} {phrase}".strip(), "") for one, _ in OUTERMOST[side][1] for phrase in phrases)


def _noun(rng: Generator, looks: Looks, *, plural: bool) -> str:
    """ "small red striped star" """
    noun = looks.shape or any_of(rng, NOUNS)
    noun += "" if not plural else "es" if noun.endswith("ss") else "s"
    adjectives = (looks.size, looks.colour, looks.texture)
    return " ".join([*(any_of(rng, LOOKS_WORDS.get(one, (one,))) for one in adjectives if one), noun])


def any_of(rng: Generator, options: Sequence[Option]) -> Option:
    return options[int(rng.integers(len(options)))]


def _codes(truths: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(…, N) truths → (…) one bit for every object it is true of, −1 where it is unclear of any."""
    bits = ((truths == 2) << np.arange(truths.shape[-1])).sum(-1)
    return np.where((truths == 1).any(-1), UNCLEAR_CODE, bits)


def objects_of(code: int) -> tuple[int, ...]:
    return tuple(i for i in range(code.bit_length()) if code >> i & 1)
