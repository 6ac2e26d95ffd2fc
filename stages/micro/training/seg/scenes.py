"""What training keeps of a generated scene: frames, what is visible of each object, looks and sentences.

Legend: O objects, T frames, H × W a frame.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.state.cache import atomic_path
from stages.micro.training.sentences import ASPECT_WORDS
from stages.worlds.shapes.clip import Clip, draw_clip
from stages.worlds.shapes.grammar import sample_sentences
from stages.worlds.shapes.sample import sample_scene
from stages.worlds.shapes.scene import Generator, Size, Thing
from stages.worlds.shapes.scene import Scene as World
from stages.worlds.shapes.statements import sample_statements
from stages.worlds.shapes.write import FRAMES, SIZES, TRAIN_SENTENCES

UNKNOWN = -1
STATEMENTS = 30
STREAM = 9  # of random numbers: the splits and other trainings have others


@dataclass(frozen=True)
class Said:
    """A sentence that refers to something, the objects, its kind, and whether it is a statement."""

    text: str
    referred: tuple[int, ...]
    kind: str
    statement: bool


@dataclass(frozen=True, eq=False)
class Scene:
    """
    Attributes:
        frames_THW3: uint8 RGB.
        labels_THW: uint8, 1 + index of the visible object; 0 = background.
        looks_O4: indices of size, colour, texture and shape among ASPECT_WORDS; UNKNOWN for the size of what grows or shrinks.
    """

    frames_THW3: NDArray[np.uint8]
    labels_THW: NDArray[np.uint8]
    looks_O4: NDArray[np.int64]
    said: tuple[Said, ...]

    def save(self, file: Path) -> None:
        """Completely or not at all."""
        said = json.dumps([[one.text, one.referred, one.kind, one.statement] for one in self.said])
        arrays = {"frames": self.frames_THW3, "labels": self.labels_THW, "looks": self.looks_O4}
        with atomic_path(file) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, said=np.array(said), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, file: Path) -> "Scene":
        with np.load(file, allow_pickle=False) as stored:
            raw = json.loads(str(stored["said"]))
            said = tuple(Said(text, tuple(referred), kind, statement) for text, referred, kind, statement in raw)
            return cls(stored["frames"], stored["labels"], stored["looks"], said)


def endless_scene(seed: int, index: int) -> Scene:
    """Scene `index` of the endless training set of `seed`; sizes of frames take turns."""
    rng = np.random.default_rng([seed, STREAM, index])
    return random_scene(rng, SIZES[index % len(SIZES)])


def random_scene(rng: Generator, size: Size) -> Scene:
    """A scene of the length of the data set's."""
    world = _world(rng, size)
    return recorded(draw_clip(rng, world), said_of(rng, world, _world(rng, size)))


def recorded(clip: Clip, said: tuple[Said, ...]) -> Scene:
    labels_THW = np.zeros(clip.masks_NTHW.shape[1:], np.uint8)
    for n, mask_THW in enumerate(clip.masks_NTHW):
        labels_THW[mask_THW] = n + 1
    looks_O4 = np.array([_looks(thing) for thing in clip.scene.things], np.int64)
    return Scene(clip.frames_THW3, labels_THW, looks_O4, said)


def said_of(rng: Generator, world: World, elsewhere: World) -> tuple[Said, ...]:
    """Sentences, and statements that are true, of what is there."""
    sentences = [(one, False) for one in sample_sentences(rng, world, TRAIN_SENTENCES)]
    sentences += [(one, True) for one in sample_statements(rng, world, elsewhere, STATEMENTS)]
    return tuple(Said(one.text, one.referred, one.kind, kind) for one, kind in sentences if one.referred)


def _looks(thing: Thing) -> list[int]:
    looks = [words.index(getattr(thing, aspect)) for aspect, words in ASPECT_WORDS.items()]
    if np.ptp(thing.radius_T) > 0:
        looks[0] = UNKNOWN
    return looks


def _world(rng: Generator, size: Size) -> World:
    n_frames = min(FRAMES[1], FRAMES[0] + int(rng.exponential(6.5)))
    return sample_scene(rng, n_frames, size)
