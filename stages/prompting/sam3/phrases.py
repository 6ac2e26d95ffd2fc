"""A sentence's concepts without a language model: its first noun with the adjectives before it, then broader ones.

A rule of word lists (words.py), for English. What a sentence says of place, motion and order is dropped: SAM3 finds nouns
and their looks alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stages.prompting.sam3.words import (
    BOUNDARIES,
    BROADER,
    CLOTHES,
    COLOURS,
    DETERMINERS,
    DOING,
    GROUPS,
    LOOKS,
    NO_DOING,
    PLACES,
    PRONOUNS,
    UNNAMED,
    WEARING,
)

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[,.;:?!]")
LONGEST = 6  # words of a noun phrase; SAM3 reads 32 tokens
DOUBLED = re.compile(r"([bdgklmnprt])\1$")  # as in running


@dataclass(frozen=True)
class NounPhrase:
    """A noun with what it looks like, and the words of the sentence behind it; no noun = nothing is named."""

    noun: tuple[str, ...]
    behind: tuple[str, ...]


def concepts(sentence: str) -> list[list[str]]:
    """Per thing that is named, its phrases from the narrowest to the broadest.

    "the two brown dogs running to the left" gives [[brown dogs, dogs, animal]], "a man and a car" two lists, and a
    sentence that names nothing [[object]].
    """
    words = WORD.findall(sentence.lower())
    first = noun_phrase(words)
    if not first.noun:
        first = noun_phrase(words, bare_verbs=False)  # "the swing"
    if not first.noun:
        return [[UNNAMED]]
    named = [first]
    while (other := _joined(named[-1].behind)) is not None:
        named.append(other)
    return [_broadening(phrase) for phrase in named]


def noun_phrase(words: Sequence[str], bare_verbs: bool = True) -> NounPhrase:
    """The first noun with the looks before it.

    Args:
        bare_verbs: words as "swing" say what is being done, as "swinging" does; otherwise they are nouns.
    """
    noun: list[str] = []
    for i, word in enumerate(words):
        if word == "of" and noun and noun[-1] in GROUPS:
            noun = []
        elif _is_named(noun) and (_ends(word, bare_verbs) or len(noun) == LONGEST):
            return NounPhrase(tuple(noun), tuple(words[i:]))
        elif word in PRONOUNS and words[i + 1 : i + 2] not in (["is"], ["are"]):  # "which one is the dog" goes on
            return NounPhrase((*noun, PRONOUNS[word]), tuple(words[i + 1 :]))
        elif not _ends(word, bare_verbs) or (word == "and" and noun and words[i + 1 : i + 2] and words[i + 1] in LOOKS):
            noun.append(word)
    return NounPhrase(tuple(noun) if _is_named(noun) else (), ())


def is_doing(word: str, bare_verbs: bool = True) -> bool:
    """Whether a word says what is being done: walking, walks, walked; bare = walk."""
    if word in NO_DOING or word in CLOTHES:
        return False
    if word in DOING:
        return bare_verbs
    if word.endswith("ing") and len(word) > 5:
        return True
    return any(word.endswith(ending) and _is_stem(word.removesuffix(ending)) for ending in ("ed", "es", "s", "d"))


def _is_stem(stem: str) -> bool:
    return stem in DOING or f"{stem}e" in DOING or (DOUBLED.search(stem) is not None and stem[:-1] in DOING)


def _joined(behind: Sequence[str]) -> NounPhrase | None:
    """What "and" joins to a noun: another noun at once, not another thing that is being done."""
    if not behind or behind[0] not in ("and", ","):
        return None
    rest = list(behind[1:])
    while rest and rest[0] in DETERMINERS | PLACES | {"and"}:
        del rest[0]
    if not rest or _ends(rest[0]) or rest[0] in PRONOUNS:
        return None
    phrase = noun_phrase(rest)
    return phrase if phrase.noun and phrase.noun[0] == rest[0] else None


def _broadening(phrase: NounPhrase) -> list[str]:
    head = phrase.noun[-1]
    broader = BROADER.get(head)
    steps = [(*phrase.noun, *_worn(phrase.behind)), phrase.noun, (head,), (broader,) if broader else ()]
    return list(dict.fromkeys(" ".join(step) for step in steps if step))


def _worn(behind: Sequence[str]) -> tuple[str, ...]:
    """What stands behind a noun and says what is worn: in red, with a black hat."""
    if not behind or behind[0] not in WEARING:
        return ()
    worn: list[str] = []
    for word in behind[1:]:
        if word in DETERMINERS and not worn:
            continue
        if word not in LOOKS | CLOTHES or len(worn) == LONGEST:
            break
        worn.append(word)
    while worn and worn[-1] not in COLOURS | CLOTHES:
        del worn[-1]
    return (behind[0], *worn) if worn else ()


def _is_named(noun: Sequence[str]) -> bool:
    return any(word not in LOOKS and word != "and" for word in noun)


def _ends(word: str, bare_verbs: bool = True) -> bool:
    """Whether a word is no part of a noun phrase."""
    if not word[0].isalnum() or word.isdigit():
        return True
    return word in BOUNDARIES | PLACES | DETERMINERS or is_doing(word, bare_verbs)
