"""What training keeps of a video: the blocks of its candidates as the views made them, and sentences with their truth.

Legend: N candidates, S pixels of a card's side, E sentences.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.state.cache import atomic_path
from stages.evidence.questions import Parts, Picture
from stages.evidence.views.card import Card
from stages.evidence.views.compose import Composition, compose
from stages.evidence.views.facts import Facts
from stages.evidence.views.scene import Scene
from stages.evidence.views.view import View
from stages.micro.training.mllm.recipe import CARD_SIDE

STATEMENT, SENTENCE = "statement", "sentence"
UNKNOWN = -1  # in labels and looks


@dataclass(frozen=True, eq=False)
class Record:
    """A video as questions see it.

    Attributes:
        cards_NSS3: pictures of the view `card`, uint8.
        words: of each view the words of each candidate's block.
        first: the number of the first candidate, as in the words.
        looks_N4: indices of size, colour, texture and shape among the words of ASPECT_WORDS; UNKNOWN = none.
        course_N82: centres at eight times in shares of the picture; NaN where a candidate is absent.
        sentences: texts.
        forms: of each sentence STATEMENT or SENTENCE.
        labels_EN: int8 1 = the sentence refers to the candidate, 0 = it does not, UNKNOWN.
    """

    cards_NSS3: NDArray[np.uint8]
    words: dict[str, list[str]]
    first: int
    looks_N4: NDArray[np.int8]
    course_N82: NDArray[np.float32]
    sentences: tuple[str, ...]
    forms: tuple[str, ...]
    labels_EN: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.cards_NSS3)

    def composition(self, views: Sequence[str], candidates: Sequence[int] | None = None) -> Composition:
        """What the pipeline's `compose` makes of these views, of all candidates or of some on their own."""
        stored = [Stored(self, name, candidates) for name in views]
        return compose(stored, Some(len(self) if candidates is None else len(candidates)), (), self.first)  # type: ignore[arg-type]

    def save(self, file: Path) -> None:
        """Completely or not at all."""
        arrays = {name: getattr(self, name) for name in ("cards_NSS3", "looks_N4", "course_N82", "labels_EN")}
        rest = {"words": self.words, "first": self.first, "sentences": self.sentences, "forms": self.forms}
        with atomic_path(file) as temporary, temporary.open("wb") as handle:
            np.savez(handle, rest=np.array(json.dumps(rest)), **arrays)

    @classmethod
    def load(cls, file: Path) -> "Record":
        with np.load(file) as content:
            rest = json.loads(str(content["rest"]))
            rest["sentences"], rest["forms"] = tuple(rest["sentences"]), tuple(rest["forms"])
            return cls(**{name: content[name] for name in content.files if name != "rest"}, **rest)


@dataclass(frozen=True)
class Some:
    """A scene of which nothing but the number of its candidates is known."""

    n: int

    def __len__(self) -> int:
        return self.n


@dataclass(frozen=True, eq=False)
class Stored:
    """A view of a record: what the view of that name showed of it."""

    record: Record
    name: str
    candidates: Sequence[int] | None

    @property
    def in_context(self) -> bool:
        return VIEWS[self.name].in_context

    def shared(self, scene: Scene, frames: Sequence[int]) -> Parts:
        return VIEWS[self.name].shared(scene, frames)

    def block(self, scene: Scene, n: int, number: int, frames: Sequence[int]) -> Parts:
        row = n if self.candidates is None else self.candidates[n]
        words = self.record.words[self.name][row]
        return (Picture(self.record.cards_NSS3[row]), words) if self.name == "card" else (words,)


VIEWS: dict[str, View] = {"card": Card(CARD_SIDE), "facts": Facts()}


def record_of(
    scene: Scene,
    first: int,
    looks_N4: NDArray[np.int8],
    sentences: Sequence[tuple[str, str]],
    labels_EN: NDArray[np.int8],
) -> Record:
    """What is kept of a scene; `sentences` are texts and forms."""
    from stages.evidence.views.card import TIMES, spread

    blocks = {name: [view.block(scene, n, first + n, ()) for n in range(len(scene))] for name, view in VIEWS.items()}
    pictures = [part.pixels_HW3 for block in blocks["card"] for part in block if isinstance(part, Picture)]
    words = {
        name: ["".join(part for part in block if isinstance(part, str)) for block in of] for name, of in blocks.items()
    }
    times = spread(scene.n_frames, TIMES)
    course_N82 = (scene.centre_NT2[:, times] / np.array(scene.size[::-1])).astype(np.float32)
    course_N82[~scene.visible_NT[:, times]] = np.nan
    return Record(
        np.stack(pictures),
        words,
        first,
        looks_N4,
        course_N82,
        tuple(text for text, _ in sentences),
        tuple(form for _, form in sentences),
        labels_EN,
    )
