"""Endless sentences of the grammar of `shapes`, without a scene: a description, its words, and where its nouns are.

Sentences need not be true of anything: a text encoder must represent what is said, a detector must know which
words name an object. Both are the same for true and for false sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from stages.worlds.shapes.clauses import CLAUSES, RELATIONS
from stages.worlds.shapes.grammar import LOOKS_WORDS, NOUNS, NUMBERS, wordings_of
from stages.worlds.shapes.meaning import AMONG, Description, Looks
from stages.worlds.shapes.outlines import SHAPES
from stages.worlds.shapes.scene import COLOURS, RADII, TEXTURES, Generator

ASPECT_WORDS: dict[str, tuple[str, ...]] = {
    "size": tuple(RADII),
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "shape": SHAPES,
}
CLAUSE_NAMES: tuple[str, ...] = tuple(dict.fromkeys([*CLAUSES, *RELATIONS, *AMONG]))
MUTUAL = tuple(name for name, relation in RELATIONS.items() if relation.mutual)
KINDS = ("looks", "clause", "relation", "among")
KIND_SHARES = (0.25, 0.35, 0.25, 0.15)
NUMBER_SHARES = (1, 1, 1, 2, 3, 4)
JOINED_SHARE = 0.1  # of "the red square and the star that spins"
ASPECT_SHARES = {"size": 0.3, "colour": 0.6, "texture": 0.35, "shape": 0.85}

Option = TypeVar("Option")


@dataclass(frozen=True)
class Noun:
    """A noun phrase: where it is in the text, without article and number, and what it says.

    Attributes:
        landmark: whether it is what the sentence compares with, not what it refers to.
    """

    start: int
    stop: int
    looks: Looks
    landmark: bool


@dataclass(frozen=True)
class Worded:
    """A sentence: its text, the meaning of its parts, how many objects each refers to, and its noun phrases."""

    text: str
    parts: tuple[Description, ...]
    number: int
    nouns: tuple[Noun, ...]


def random_sentence(rng: Generator, known: Sequence[Looks] = ()) -> Worded:
    """A sentence about `known` looks or some of their words; about any looks where none are given."""
    joined = rng.random() < JOINED_SHARE
    parts = [_random_part(rng, known) for _ in range(2 if joined else 1)]
    if joined:  # two single objects: no clause that only two can do
        parts = [Description(part.looks) if part.clause in MUTUAL else part for part in parts]
    return put_in_words(rng, parts, 1 if joined else _any(rng, NUMBER_SHARES))


def put_in_words(rng: Generator, parts: Sequence[Description], number: int) -> Worded:
    """One of the ways to say it; of `number` objects where the clause can be said of several."""
    text, nouns = "", []
    for part in parts:
        text += " and " if text else ""
        singular, plural = _any(rng, wordings_of(part.clause))
        number = 1 if not plural else 2 if not singular else number
        template = plural if number > 1 else singular
        for piece in _pieces(template):
            start = len(text)
            if piece == "{noun}":
                text += _noun(rng, part.looks, plural=number > 1)
                nouns.append(Noun(start, len(text), part.looks, landmark=False))
            elif piece == "{other}":
                assert part.landmark is not None
                text += f"the {_noun(rng, part.landmark, plural=False)}"
                nouns.append(Noun(start + len("the "), len(text), part.landmark, landmark=True))
            else:
                text += NUMBERS[number] if piece == "{number}" else piece
    return Worded(text, tuple(parts), number, tuple(nouns))


def random_looks(rng: Generator) -> Looks:
    """Random looks of the data set, with about as many words as sentences use, at least one."""
    while True:
        said = {a: _any(rng, words) for a, words in ASPECT_WORDS.items() if rng.random() < ASPECT_SHARES[a]}
        if said:
            return Looks(**said)


def fewer_words(rng: Generator, looks: Looks) -> Looks:
    """Some of the words of looks; at least one where there are any."""
    words = {aspect: getattr(looks, aspect) for aspect in ASPECT_WORDS if getattr(looks, aspect)}
    said = {aspect: word for aspect, word in words.items() if rng.random() < ASPECT_SHARES[aspect]}
    if words and not said:
        kept = _any(rng, list(words))
        said = {kept: words[kept]}
    return Looks(**said)


def _random_part(rng: Generator, known: Sequence[Looks]) -> Description:
    def looks() -> Looks:
        return fewer_words(rng, _any(rng, known)) if known else random_looks(rng)

    kind = KINDS[int(np.searchsorted(np.cumsum(KIND_SHARES), rng.random(), side="right"))]
    said = Looks() if kind == "clause" and rng.random() < 0.1 else looks()  # "the object that spins"
    if kind == "looks":
        return Description(said)
    if kind == "clause":
        return Description(said, _any(rng, list(CLAUSES)))
    if kind == "among":
        return Description(said, _any(rng, AMONG))
    clause = _any(rng, list(RELATIONS))
    return Description(said, clause, None if clause in MUTUAL else looks())


def _noun(rng: Generator, looks: Looks, *, plural: bool) -> str:
    """ "small red striped star" """
    noun = looks.shape or _any(rng, NOUNS)
    noun += "" if not plural else "es" if noun.endswith("ss") else "s"
    words = []
    for word in (looks.size, looks.colour, looks.texture):
        if word:
            words.append(_any(rng, LOOKS_WORDS.get(word, (word,))))
    return " ".join([*words, noun])


def _any(rng: Generator, options: Sequence[Option]) -> Option:
    return options[int(rng.random() * len(options))]


def _pieces(template: str) -> list[str]:
    """The template cut at its fields, fields kept."""
    pieces, rest = [], template
    while "{" in rest:
        before, _, rest = rest.partition("{")
        field, _, rest = rest.partition("}")
        pieces += [before, f"{{{field}}}"]
    return [piece for piece in [*pieces, rest] if piece]


def held_out(seed: int, *index: int) -> Generator:
    """A generator that no training uses: their streams begin with their seed and 0."""
    return np.random.default_rng([2**31 + seed, 1, *index])
