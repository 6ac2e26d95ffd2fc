"""What a sentence says as numbers: one vector per part, one-hot by aspect. Legend: P parts, K features."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stages.micro.training.sentences import (
    ASPECT_WORDS,
    CLAUSE_NAMES,
    Worded,
    put_in_words,
    random_looks,
    random_sentence,
)
from stages.worlds.shapes.meaning import ASPECTS, Description, Looks
from stages.worlds.shapes.scene import Generator

CHANGES = ("looks", "clause", "landmark", "order", "words")
MOST = 4  # objects that a sentence refers to
LOOKS_WIDTH = sum(1 + len(words) for words in ASPECT_WORDS.values())
WIDTH = 2 * LOOKS_WIDTH + 1 + (1 + len(CLAUSE_NAMES)) + MOST


def encode_state(worded: Worded) -> NDArray[np.float32]:
    """(2, K) looks, landmark's looks, clause, number; zeros where there is no second part."""
    state_2K = np.zeros((2, WIDTH), np.float32)
    for row_K, part in zip(state_2K, worded.parts):
        clause = 0 if part.clause is None else 1 + CLAUSE_NAMES.index(part.clause)
        landmark = part.landmark or Looks()
        row_K[:] = np.concatenate(
            [
                _looks(part.looks),
                _looks(landmark),
                [part.landmark is not None],
                np.eye(1 + len(CLAUSE_NAMES))[clause],
                np.eye(MOST)[worded.number - 1],
            ]
        )
    return state_2K


def _looks(looks: Looks) -> NDArray[np.float64]:
    hots = []
    for aspect in ASPECTS:
        words = (None, *ASPECT_WORDS[aspect])
        hots.append(np.eye(len(words))[words.index(getattr(looks, aspect))])
    return np.concatenate(hots)


def family(rng: Generator, count: int) -> list[Worded]:
    """A sentence and others that each differ in one thing (or say the same in other words)."""
    first = random_sentence(rng)
    return [first, *(_variant(rng, first) for _ in range(count - 1))]


def _variant(rng: Generator, worded: Worded) -> Worded:
    parts = list(worded.parts)
    at = int(rng.integers(len(parts)))
    change = CHANGES[int(rng.integers(len(CHANGES)))]
    if change == "looks":
        parts[at] = replace(parts[at], looks=_other_word(rng, parts[at].looks))
    elif change == "clause":
        parts[at] = _other_clause(rng, parts[at])
    elif change == "landmark" and parts[at].landmark is not None:
        parts[at] = replace(parts[at], landmark=_other_word(rng, parts[at].landmark or Looks()))
    elif change == "order" and parts[at].landmark is not None:
        parts[at] = replace(parts[at], looks=parts[at].landmark or Looks(), landmark=parts[at].looks)
    return put_in_words(rng, parts, worded.number)


def _other_word(rng: Generator, looks: Looks) -> Looks:
    aspect = ASPECTS[int(rng.integers(len(ASPECTS)))]
    return replace(looks, **{aspect: getattr(random_looks(rng), aspect)})


def _other_clause(rng: Generator, part: Description) -> Description:
    """The same looks in another sentence."""
    other: Sequence[Description] = random_sentence(rng, [part.looks]).parts
    return replace(other[0], looks=part.looks)
