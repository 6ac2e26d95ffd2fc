"""From decisions to objects in the time of the source: numbers, frames, words."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from stages.core.media import masks
from stages.core.records import Rle
from stages.core.state.frames import FrameFolder
from stages.delivery.segmented import Object, Sentence, Source
from stages.own.answers import Known, described, indices_of


def box(left: int, right: int) -> Rle:
    mask_HW = np.zeros((8, 16), bool)
    mask_HW[2:6, left:right] = True
    return masks.encode(mask_HW)


def source_of(n_frames: int, start: float = 0.0) -> Source:
    """Ten frames a second."""
    return Source(Path("a.mp4"), (), (8, 16), tuple(range(n_frames)), n_frames, Fraction(1, 10), start)


def frames_of(times: tuple[float, ...] | None, start: float, n: int) -> FrameFolder:
    names = tuple(f"{i:05d}" for i in range(n))
    return FrameFolder(Path("frames"), names, ".jpg", (8, 16), times, "digest", start)


def test_the_same_object_has_one_number_in_all_sentences() -> None:
    known = Known()
    assert known.number([box(0, 10), box(1, 11)]) == 0
    assert known.number([box(12, 14), box(12, 14)]) == 1
    assert known.number([box(0, 10), box(1, 10)]) == 0
    assert known.number([box(0, 4), box(1, 11)]) == 2


def test_processed_frames_are_found_in_the_source_whatever_its_clock() -> None:
    source = source_of(30, start=1.5)
    assert indices_of(frames_of((0.0, 0.5, 1.0), 1.5, 3), source) == (0, 5, 10)
    assert indices_of(frames_of((0.0, 0.5, 1.0), 3.5, 3), source) == (20, 25, 30 - 1)
    assert indices_of(frames_of(None, 0.0, 3), source) == (0, 1, 2)


def test_what_is_found_is_said_in_frames_of_the_source() -> None:
    empty = masks.empty((8, 16))
    one = Object(0, "object 1", 0.931, [empty, box(0, 4), box(1, 5), None])
    two = Object(1, "object 2", 0.5, [empty, empty, empty, box(1, 5)])
    indices = (0, 12, 24, 36)
    assert described(Sentence("the dog", (one,)), indices) == '"the dog": 1 object, frames 12–24, score 0.93'
    assert described(Sentence("dogs", (one, two)), indices) == '"dogs": 2 objects, frames 12–36, scores 0.93, 0.50'
    nothing = Sentence("a cat", (), "best score 0.12, 0.50 is needed")
    assert described(nothing, indices) == '"a cat": nothing (best score 0.12, 0.50 is needed)'
