"""Sentences about a scene, each true of exactly the objects that it refers to.

    sentence := "the" [number] [size] [colour] noun [clause]

Number is left out for one object and spelled for several; a sentence may also refer to nothing (no target).
Every description the grammar knows is evaluated on the scene (`meaning`), sorted into families, and a few
are drawn, a family at a time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

from stages.datasets.shapes.draw import SHAPES
from stages.datasets.shapes.meaning import CLAUSES, Description, Judge
from stages.datasets.shapes.motion import Generator
from stages.datasets.shapes.scene import COLOURS, RADII, Scene

NUMBERS: Mapping[int, str] = {0: "", 1: "", 2: "two ", 3: "three "}
FAMILIES = ("appearance", "motion", "position", "several", "none")


@dataclass(frozen=True)
class Sentence:
    """A sentence, its meaning, and the indices of the objects it refers to (none for a no-target one)."""

    text: str
    description: Description
    referred: tuple[int, ...]


def sample_sentences(rng: Generator, scene: Scene) -> list[Sentence]:
    """3 to 5 sentences of different families as far as the scene has them; fewer where it is poor."""
    by_family = _by_family(Judge(scene))
    n = int(rng.integers(3, 6))
    others = [str(name) for name in rng.permutation(["several", "none", "position", "appearance", "motion"])]
    found: dict[Description, Sentence] = {}
    for family in ("motion", "appearance", *others, "motion", "several"):
        pool = by_family[family]
        if pool and len(found) < n:
            description, referred = pool[rng.integers(len(pool))]
            text = _word(rng, description, len(referred))
            found.setdefault(description, Sentence(text, description, referred))
    return list(found.values())


def _by_family(judge: Judge) -> dict[str, list[tuple[Description, tuple[int, ...]]]]:
    families: dict[str, list[tuple[Description, tuple[int, ...]]]] = {name: [] for name in FAMILIES}
    for description in _descriptions():
        referred = judge.referred(description)
        if referred is not None and len(referred) in NUMBERS and _says_enough(judge, description, referred):
            families[_family(description, len(referred))].append((description, referred))
    return families


def _descriptions() -> Iterable[Description]:
    """All that name one to three things: of size, colour, shape and clause."""
    for parts in product((None, *RADII), (None, *COLOURS), (None, *SHAPES), (None, *CLAUSES)):
        if 1 <= sum(part is not None for part in parts) <= 3:
            yield Description(*parts)


def _says_enough(judge: Judge, description: Description, referred: tuple[int, ...]) -> bool:
    """Whether every word is needed: without it the sentence would refer to something else.

    A shape may be said of an object without need, as people do. A no-target sentence needs all its words, so
    that it is plausible: it is one word away from an object of the scene.
    """
    for part in ("size", "colour", "shape", "clause"):
        if getattr(description, part) is not None:
            shorter = replace(description, **{part: None})
            if shorter == Description():
                if not referred and part != "clause":
                    return False  # "the red object" where nothing is red: too far from the scene
            elif judge.referred(shorter) == referred and not (referred and part == "shape"):
                return False
    return True


def _family(description: Description, n_referred: int) -> str:
    if n_referred != 1:
        return "several" if n_referred else "none"
    if description.clause is None:
        return "appearance"
    return "motion" if CLAUSES[description.clause].of_motion else "position"


def _word(rng: Generator, description: Description, n_referred: int) -> str:
    plural = n_referred > 1
    noun = description.shape or "object"
    noun += "" if not plural else "es" if noun.endswith("ss") else "s"
    words = ["the", NUMBERS[n_referred].strip(), description.size, description.colour, noun]
    if description.clause is not None:
        wordings = CLAUSES[description.clause].wordings
        words.append(wordings[rng.integers(len(wordings))][plural])
    return " ".join(word for word in words if word)
