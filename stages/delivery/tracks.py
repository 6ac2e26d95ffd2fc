"""The objects of several sentences as the instances of annotation formats."""

from collections.abc import Sequence
from typing import NamedTuple

from stages.delivery.segmented import Object, Sentence


class Track(NamedTuple):
    """An object as a sentence's instance. An object that two sentences refer to is an instance of each.

    Attributes:
        number: from 1, unique in the video.
        category: the sentence's number, from 1.
    """

    number: int
    category: int
    sentence: Sentence
    found: Object


def tracks_of(sentences: Sequence[Sentence]) -> list[Track]:
    pairs = [(category, s, found) for category, s in enumerate(sentences, 1) for found in s.objects]
    return [Track(number, *pair) for number, pair in enumerate(pairs, 1)]
