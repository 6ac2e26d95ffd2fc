"""How many objects a sentence asks for, and whether it says more than their looks, from its words alone: rules for English.

They look at the first noun phrase and at those that "and" joins to it: at its number words ("two", "both", "one of"), its
articles, and whether its nouns or its verb stand in the plural. A plural without a number says nothing certain, and so
does whatever the rules do not know: the number is unknown then.
"""

import re
from collections.abc import Iterator, Sequence

COUNTS = {"one": 1, "both": 2, "two": 2, "pair": 2, "couple": 2, "three": 3, "trio": 3, "four": 4, "five": 5, "six": 6}
COUNTS |= {"seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12}
MOST = 20  # a larger numeral is a year, or what is written on something
SINGULAR = {"a", "an", "another", "this", "someone", "somebody", "he", "she", "it"}
ARTICLES = {*SINGULAR, "the", "my", "his", "her", "its", "their"}
# A noun phrase that holds one of these is of some number that only the video tells.
SEVERAL = {"all", "some", "several", "many", "few", "multiple", "various", "numerous", "every", "each", "any", "most"}
SEVERAL |= {"group", "herd", "flock", "crowd", "bunch", "row", "line", "team", "pack", "family", "set", "stack", "pile"}
SEVERAL |= {
    "everyone",
    "everybody",
    "everything",
    "nobody",
    "nothing",
    "no",
    "they",
    "them",
    "these",
    "those",
    "dozens",
}
PLURALS = {"people", "men", "women", "children", "feet", "teeth", "mice", "geese", "oxen", "cattle", "police", "ones"}
EITHER = {"sheep", "fish", "deer"}  # the verb decides
NOT_PLURAL = {"always", "backwards", "bus", "canvas", "gas", "glass", "lens", "series", "this"}
ADJECTIVES = {
    "big",
    "large",
    "small",
    "little",
    "tiny",
    "tall",
    "short",
    "long",
    "young",
    "old",
    "other",
    "same",
    "new",
}
ADJECTIVES |= {"black", "white", "red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "grey", "gray"}
ENDS = {"that", "which", "who", "whose", "whom", "where", "when", "while", "and", "or", "but", "then", "as", "than"}
ENDS |= {"in", "on", "at", "of", "to", "with", "without", "from", "near", "by", "over", "under", "above", "below"}
ENDS |= {"beside", "behind", "between", "among", "across", "along", "around", "into", "onto", "through", "towards"}
ENDS |= {"inside", "outside", "against", "for", "not", "next", "closest", "nearest", "after", "before", "up", "down"}
ONE_DOES, SOME_DO = {"is", "was", "has", "does", "isn't", "doesn't"}, {"are", "were", "have", "do", "aren't", "don't"}
ENDS |= ONE_DOES | SOME_DO | {",", ";", ":", "."}
ENGLISH = ARTICLES | ENDS | COUNTS.keys()
NOUNS_IN_ING = {"thing", "king", "ring", "string", "wing", "building", "painting", "duckling", "ceiling", "something"}


def number_of(text: str) -> int | None:
    """The number of objects that a sentence asks for; None = unknown, as in every sentence that is not English."""
    words = _words(text)
    if not _is_english(words):
        return None
    numbers = [_number(phrase) for phrase in _joined(words)]
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) and known else None


def says_looks_alone(text: str) -> bool:
    """Whether a sentence is noun phrases and nothing else, as "the red car": no verb, no place, no clause."""
    words = _words(text)
    return _is_english(words) and all(_noun_phrase(phrase) == phrase for phrase in _joined(words))


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+|[,;:.]", text.lower())


def _is_english(words: Sequence[str]) -> bool:
    return any(word in ENGLISH or word.isdecimal() or _is_participle(word) for word in words)


def _joined(words: Sequence[str]) -> Iterator[list[str]]:
    """The phrases that "and" joins: after it an article or a number begins another one."""
    phrase: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "and" and (following in ARTICLES or following in COUNTS):
            yield phrase
            phrase = []
        else:
            phrase.append(word)
    yield phrase


def _number(words: Sequence[str]) -> int | None:
    """Of one phrase."""
    nouns = _noun_phrase(words)
    rest = words[len(nouns) :]
    if not nouns or (rest[:1] == ["and"] and nouns[-1] not in ADJECTIVES):  # "a cat and dog"
        return None
    counts = [count for count in map(_count, nouns) if count is not None]
    if counts and "number" not in nouns:
        return counts[0]
    if SEVERAL & set(nouns):
        return None
    if SINGULAR & set(nouns):
        return 1
    one_does = _agreement(rest)
    if EITHER & set(nouns):
        return 1 if one_does else None
    if nouns[-1] == "the" or _is_participle(nouns[-1]) or one_does is False:
        return None
    return None if any(map(_is_plural, nouns)) else 1


def _noun_phrase(words: Sequence[str]) -> list[str]:
    """The words before a verb, a preposition or a clause; a participle among adjectives is one of them."""
    nouns: list[str] = []
    for word in words:
        if word in ENDS or (_is_participle(word) and set(nouns) - ARTICLES - ADJECTIVES):
            break
        nouns.append(word)
    return nouns


def _count(word: str) -> int | None:
    if word.isdecimal():
        return int(word) if 0 < int(word) <= MOST else None
    return COUNTS.get(word)


def _is_participle(word: str) -> bool:
    return word.endswith("ing") and word not in NOUNS_IN_ING


def _is_plural(word: str) -> bool:
    if word in PLURALS or word.endswith(("men", "children")):
        return True
    return (
        len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "'s")) and word not in NOT_PLURAL
    )


def _agreement(rest: Sequence[str]) -> bool | None:
    """Whether the verb after the noun phrase stands in the singular; None = it does not say."""
    clause = rest[:1] != [] and rest[0] in ("that", "which", "who")
    verb = next((word for word in (rest[1:] if clause else rest[:1]) if not word.endswith("ly")), "")
    if verb in SOME_DO:
        return False
    return True if verb in ONE_DOES or (clause and _is_plural(verb)) else None
