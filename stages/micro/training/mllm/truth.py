"""What is true of candidates: which sentences refer to them, and how they look.

Legend: N candidates, O objects, E sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.micro.training.mllm.records import SENTENCE, STATEMENT, UNKNOWN
from stages.micro.training.sentences import ASPECT_WORDS
from stages.worlds.shapes.clauses import FASTEST
from stages.worlds.shapes.grammar import Sentence, sample_sentences
from stages.worlds.shapes.scene import Generator, Thing
from stages.worlds.shapes.scene import Scene as World
from stages.worlds.shapes.statements import sample_statements
from stages.worlds.shapes.write import TRAIN_SENTENCES

STATEMENTS = 40
SAME, OTHER = 0.5, 0.3  # IoU from which a track is of an object, and up to which it is not


@dataclass(frozen=True)
class Said:
    """A sentence or statement about a scene, and the objects that it refers to."""

    text: str
    form: str
    referred: tuple[int, ...]


def said_of(rng: Generator, world: World, elsewhere: World) -> list[Said]:
    """Sentences and statements about a scene; false statements are about what is true elsewhere.

    Who is the fastest takes a comparison of courses and of looks, and is seldom said: it is, wherever that is clear.
    """
    sentences = sample_sentences(rng, world, TRAIN_SENTENCES)
    return in_form(sentences, SENTENCE) + in_form(
        sample_statements(rng, world, elsewhere, STATEMENTS, early=FASTEST), STATEMENT
    )


def in_form(sentences: Sequence[Sentence], form: str) -> list[Said]:
    return [Said(sentence.text, form, sentence.referred) for sentence in sentences]


def labels_of(said: Sequence[Said], shares_NO: NDArray[np.floating]) -> NDArray[np.int8]:
    """(E, N) 1 = the track is of an object that the sentence refers to, 0 = it is of none of them, UNKNOWN in between."""
    labels_EN = np.zeros((len(said), len(shares_NO)), np.int8)
    for row_N, one in zip(labels_EN, said):
        best_N = shares_NO[:, list(one.referred)].max(1, initial=0.0)
        row_N[:] = np.where(best_N >= SAME, 1, np.where(best_N <= OTHER, 0, UNKNOWN))
    return labels_EN


def looks_of(things: Sequence[Thing], shares_NO: NDArray[np.floating]) -> NDArray[np.int8]:
    """(N, 4) indices among ASPECT_WORDS; UNKNOWN for what is no object, and for the size of what grows or shrinks."""
    looks_N4 = np.full((len(shares_NO), len(ASPECT_WORDS)), UNKNOWN, np.int8)
    for row_4, share_O in zip(looks_N4, shares_NO):
        if not len(things) or share_O.max() <= OTHER:
            continue
        thing = things[int(share_O.argmax())]
        row_4[:] = [words.index(getattr(thing, aspect)) for aspect, words in ASPECT_WORDS.items()]
        if np.ptp(thing.radius_T) > 0:
            row_4[0] = UNKNOWN
    return looks_N4
