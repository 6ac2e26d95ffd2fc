"""Statements about a scene: one fact each, to train selectors on beside its sentences.

A sentence is what a person would say to point something out, so it needs every word. A statement only has to be
clear: it may fit several objects, or none. It has one of three forms, an aspect of looks, a clause, or both; so what
a single word means can be learnt from it.

False statements are balanced against true ones by what is true elsewhere: they say of this scene, in the same form,
clause and number, what is true of another scene. So a clause is as rare in false statements as it is in true ones, and
naming it tells nothing.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.worlds.shapes.grammar import NUMBERS, Sentence, Table, any_of, objects_of, weight_of, word
from stages.worlds.shapes.meaning import ASPECTS, FALSE, Description, Judge, Looks, kind_of, needs_motion
from stages.worlds.shapes.outlines import SHAPES
from stages.worlds.shapes.scene import COLOURS, RADII, TEXTURES, Generator, Scene

STATEMENTS = 48  # of a scene
TRUE_SHARE = 0.6  # more than half: some clauses, as "the leftmost", are true of something or unclear, never false
FORMS: Mapping[str, float] = {"looks": 0.25, "clause": 0.25, "both": 0.5}  # share of each
WORDS: Mapping[str, Collection[str]] = {"size": RADII, "colour": COLOURS, "texture": TEXTURES, "shape": SHAPES}
RARE = ("relation", "order")  # kinds that take their turns first
ROUNDS = 20  # through what could be said, each time in other words, before there are fewer statements

Theme = tuple[str, str]  # a form, and the clause or, where it has none, the aspect of looks
Meant = tuple[Description, tuple[int, ...]]
Option = TypeVar("Option")


def sample_statements(
    rng: Generator,
    scene: Scene,
    elsewhere: Scene,
    number: int = STATEMENTS,
    about: Collection[int] | None = None,
    early: Collection[str] = (),
) -> list[Sentence]:
    """Statements about a scene, about half of them false: those refer to nothing.

    Args:
        elsewhere: any other scene; what is true of it sets what the false statements are about.
        number: as many are drawn, as far as the scene allows.
        about: the objects that a true statement may refer to; None = all.
        early: clauses that are said wherever they are true.
    """
    table, n_true = Table(Judge(scene)), round(TRUE_SHARE * number)
    true, false, models = _true(table, about), _false(table), _true(Table(Judge(elsewhere)), None)
    drawn: dict[str, Sentence] = {}
    for _ in range(ROUNDS):
        for _, (meant, referred) in _draw(rng, true, n_true - len(drawn), early):
            _add(drawn, rng, meant, referred, len(referred))
    for _ in range(ROUNDS):
        for (form, said), (_, referred) in sorted(_shuffled(rng, _draw(rng, models, n_true)), key=_comes_late):
            options = false.get((form, said)) or false.get(("both", said))
            if options and len(drawn) < number:
                _add(drawn, rng, any_of(rng, options), (), len(referred))
    return list(drawn.values())


def _add(
    drawn: dict[str, Sentence], rng: Generator, meant: Description, referred: tuple[int, ...], n_referred: int
) -> None:
    """Words a statement; one that was worded so before is not added."""
    text = word(rng, (meant,), n_referred)
    sentence = Sentence(text, (meant,), referred, kind_of(meant.clause), needs_motion(meant.clause))
    drawn.setdefault(text, sentence)


def _draw(
    rng: Generator, options: Mapping[Theme, Sequence[Meant]], number: int, early: Collection[str] = ()
) -> list[tuple[Theme, Meant]]:
    """At most so many: of each form its share, or of the others where it has too few."""
    turns = {form: _in_turn(rng, {t: options[t] for t in options if t[0] == form}, early) for form in FORMS}
    shares = [list(islice(turns[form], max(0, round(share * number)))) for form, share in FORMS.items()]
    drawn = list(chain.from_iterable(shares))
    return [*drawn, *islice(chain.from_iterable(turns.values()), max(0, number - len(drawn)))]


def _in_turn(
    rng: Generator, options: Mapping[Theme, Sequence[Meant]], early: Collection[str]
) -> Iterator[tuple[Theme, Meant]]:
    """All options, one of each theme after the other; those that fit nearly every scene are passed over at times."""
    left = {theme: _shuffled(rng, some) for theme, some in options.items()}
    while left:
        turn = sorted(_shuffled(rng, list(left)), key=lambda theme: _comes_late((theme, ...)))
        for theme in sorted(turn, key=lambda theme: theme[1] not in early):
            if rng.random() < weight_of(theme[1]) or theme[1] in early:
                yield theme, left[theme].pop()
                if not left[theme]:
                    del left[theme]


def _comes_late(drawn: tuple[Theme, object]) -> bool:
    return kind_of(drawn[0][1]) not in RARE


def _true(table: Table, about: Collection[int] | None) -> dict[Theme, list[Meant]]:
    """Theme → what is true of one to four of the objects."""
    allowed = -1 if about is None else sum(1 << i for i in about)
    options: dict[Theme, list[Meant]] = {}
    for theme, meant, code in _all(table):
        if code > 0 and code & ~allowed == 0 and code.bit_count() <= max(NUMBERS):
            options.setdefault(theme, []).append((meant, objects_of(code)))
    return options


def _false(table: Table) -> dict[Theme, list[Description]]:
    """Theme → what is clearly true of no object."""
    options: dict[Theme, list[Description]] = {}
    for theme, meant, code in _all(table):
        if code == 0:
            options.setdefault(theme, []).append(meant)
    for aspect in ASPECTS:
        absent = [looks for value in WORDS[aspect] if _fits_none(table, looks := Looks(**{aspect: value}))]
        options["looks", aspect] = [Description(looks) for looks in absent]
    return options


def _all(table: Table) -> Iterator[tuple[Theme, Description, int]]:
    """Every description of at most one aspect of looks and one clause: its theme, and one bit per object or −1."""
    for i, looks in enumerate(table.looks):
        for c, (clause, landmark) in enumerate(table.columns if looks.n_words <= 1 else ()):
            if clause is None and not looks.n_words:
                continue
            if landmark is not None and int(table.codes_LC[i, 0]) == 1 << landmark:
                continue  # "the square left of the red square" where there is no other square
            aspect = next((aspect for aspect in ASPECTS if getattr(looks, aspect)), "")
            theme = ("both" if looks.n_words else "clause", clause) if clause else ("looks", aspect)
            at = None if landmark is None else table.landmarks[landmark]
            yield theme, Description(looks, clause, at), int(table.codes_LC[i, c])


def _fits_none(table: Table, looks: Looks) -> bool:
    truths_N: NDArray[np.uint8] = table.judge.fits(looks)
    return bool((truths_N == FALSE).all())


def _shuffled(rng: Generator, options: Sequence[Option]) -> list[Option]:
    return [options[i] for i in rng.permutation(len(options))]
