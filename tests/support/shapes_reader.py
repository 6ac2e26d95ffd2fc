"""A second reading of the sentences of `shapes`: from the text alone to what it means."""

import re
from itertools import product

from stages.worlds.shapes.clauses import CLAUSES, RELATIONS
from stages.worlds.shapes.grammar import LOOKS_WORDS, NOUNS, NUMBERS, wordings_of
from stages.worlds.shapes.meaning import AMONG, Description, Looks
from stages.worlds.shapes.outlines import SHAPES
from stages.worlds.shapes.scene import COLOURS, RADII, TEXTURES

VALUES = {"size": tuple(RADII), "colour": tuple(COLOURS), "texture": TEXTURES}


def _noun(group: str) -> str:
    """A regular expression: adjectives in their order, then a shape or "object", in singular or plural."""
    adjectives = "".join(
        f"(?:(?P<{group}_{aspect}>{'|'.join(word for value in values for word in LOOKS_WORDS.get(value, (value,)))}) )?"
        for aspect, values in VALUES.items()
    )
    return rf"{adjectives}(?P<{group}_noun>{'|'.join((*SHAPES, *NOUNS))})(?P<{group}_plural>(?:es|s)?)"


def _pattern(template: str) -> re.Pattern[str]:
    number = f"(?P<number>{'|'.join(NUMBERS.values())})"
    parts = {"noun": _noun("noun"), "number": number, "other": f"the {_noun('other')}"}
    return re.compile(re.sub(r"\\{(\w+)\\}", lambda found: parts[found[1]], re.escape(template)))


PATTERNS = [
    (clause, bool(plural), _pattern(wording[plural]))
    for clause, plural in product(dict.fromkeys((None, *CLAUSES, *RELATIONS, *AMONG)), (0, 1))
    for wording in wordings_of(clause)
    if wording[plural]
]


def read(text: str) -> list[tuple[Description, int | None]]:
    """Every way to read a phrase: its meaning, and how many objects it says there are (None = it says nothing)."""
    readings = []
    for clause, plural, pattern in PATTERNS:
        if found := pattern.fullmatch(text):
            groups = found.groupdict()
            assert bool(groups["noun_plural"]) == plural, text
            assert groups["noun_plural"] == ("es" if groups["noun_noun"].endswith("ss") else "s") * plural, text
            number = next((n for n, word in NUMBERS.items() if word == groups.get("number")), None)
            other = _looks(groups, "other") if "other_noun" in groups else None
            readings.append((Description(_looks(groups, "noun"), clause, other), number))
    return readings


def _looks(groups: dict[str, str | None], group: str) -> Looks:
    meant = {word: value for values in VALUES.values() for value in values for word in LOOKS_WORDS.get(value, (value,))}
    aspects = {aspect: meant.get(groups[f"{group}_{aspect}"] or "") for aspect in VALUES}
    shape = groups[f"{group}_noun"]
    return Looks(**aspects, shape=None if shape in NOUNS else shape)
