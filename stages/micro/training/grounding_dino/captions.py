"""Captions about a frame, and which of their tokens name which objects.

A caption is several phrases with "." between them: noun phrases ("a red square") and whole sentences of the grammar.
A token of a noun phrase is positive for every object that the phrase fits, landmarks included; all other tokens for
none. Motion is not labelled: it cannot be seen in one frame.

Legend: N objects, W tokens with [CLS] and [SEP].
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.micro.training.grounding_dino.scenes import fits
from stages.micro.training.sentences import Noun, fewer_words, put_in_words, random_looks, random_sentence
from stages.prompting.grounding_dino.detector import normalise
from stages.worlds.shapes.meaning import ASPECTS, Description, Looks
from stages.worlds.shapes.scene import Generator

MOST_PHRASES = 5
SENTENCE_SHARE = 0.5
NEAR_MISS_SHARE = 0.3  # of phrases: one word away from an object in the frame
PAIR_SHARE = 0.5  # of noun phrases: colour and shape, as in "a red square . a blue circle ."


@dataclass(frozen=True)
class Caption:
    """Token ids, and positive_NW: bool, which tokens name which object."""

    ids_W: list[int]
    positive_NW: NDArray[np.bool_]


def random_caption(rng: Generator, tokenizer: Any, looks: Sequence[Looks]) -> Caption:
    """A caption for a frame with objects of these looks."""
    text, nouns = "", []
    for _ in range(int(rng.integers(1, MOST_PHRASES + 1))):
        text += " . " if text else ""
        phrase, phrase_nouns = _phrase(rng, looks)
        nouns += [replace(noun, start=noun.start + len(text), stop=noun.stop + len(text)) for noun in phrase_nouns]
        text += phrase
    return tokenize(tokenizer, text, nouns, looks)


def tokenize(tokenizer: Any, text: str, nouns: Sequence[Noun], looks: Sequence[Looks]) -> Caption:
    """As the detector reads a caption (`stages.prompting.grounding_dino.detector`)."""
    encoding = tokenizer(normalise(text), return_offsets_mapping=True)
    positive_NW = np.zeros((len(looks), len(encoding["input_ids"])), bool)
    for noun in nouns:
        fitting_N = np.array([fits(noun.looks, one) for one in looks], bool)
        inside_W = np.array([noun.start <= a < b <= noun.stop for a, b in encoding["offset_mapping"]])
        positive_NW |= fitting_N[:, None] & inside_W
    return Caption(list(encoding["input_ids"]), positive_NW)


def _phrase(rng: Generator, looks: Sequence[Looks]) -> tuple[str, tuple[Noun, ...]]:
    known = [_near_miss(rng, one) if rng.random() < NEAR_MISS_SHARE else one for one in looks]
    if rng.random() < SENTENCE_SHARE:
        worded = random_sentence(rng, known)
        return worded.text, worded.nouns
    one = known[int(rng.integers(len(known)))]
    said = Looks(colour=one.colour, shape=one.shape) if rng.random() < PAIR_SHARE else fewer_words(rng, one)
    worded = put_in_words(rng, [Description(said)], 1)
    article = ("a ", "the ", "")[int(rng.integers(3))]
    text = article + worded.text[len("the ") :]
    moved = len(text) - len(worded.text)
    return text, tuple(replace(noun, start=noun.start + moved, stop=noun.stop + moved) for noun in worded.nouns)


def _near_miss(rng: Generator, looks: Looks) -> Looks:
    aspect = ASPECTS[int(rng.integers(len(ASPECTS)))]
    return replace(looks, **{aspect: getattr(random_looks(rng), aspect) or getattr(looks, aspect)})
