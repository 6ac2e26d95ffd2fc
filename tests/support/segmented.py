"""A small video with sound and uneven times, and answers to sentences about it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from support.video_files import add_sound, make_video

from stages.core.config.sections import Render
from stages.core.media import masks
from stages.delivery.segmented import Object, Segmented, Sentence
from stages.delivery.source import open_source

TIMES_MS = (0, 40, 80, 200, 240, 280, 320, 400, 440, 500)
SIZE = (64, 96)  # height, width
TEXTS = ("the dog that turns around", "الكلب البني", "a unicorn")
RENDER = Render(overlays=True, fps=25, max_side=960, opacity=0.45, crf=18, captions=True, font=None)


def box(size: tuple[int, int], y: int, x: int, height: int, width: int) -> np.ndarray:
    mask_HW = np.zeros(size, bool)
    mask_HW[y : y + height, x : x + width] = True
    return mask_HW


def moving(n_frames: int, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """A box with a hole that moves by a pixel per frame."""
    masks_T = [box(size, 8 + i, 8 + i, size[0] // 3, size[1] // 3) for i in range(n_frames)]
    for i, mask_HW in enumerate(masks_T):
        mask_HW[12 + i : 16 + i, 12 + i : 20 + i] = False
    return masks_T


def late(n_frames: int, size: tuple[int, int] = SIZE) -> list[np.ndarray | None]:
    """Nothing for three frames, then a box at the right edge."""
    return [None if i < 3 else box(size, size[0] - 20, size[1] - 16, 12, 16) for i in range(n_frames)]


def an_object(number: int, name: str, score: float, masks_T: Sequence[np.ndarray | None]) -> Object:
    return Object(number, name, score, [None if mask is None else masks.encode(mask) for mask in masks_T])


def make_clip(folder: Path, suffix: str = ".mkv", seconds: float = 0.6) -> Path:
    """Ten frames at uneven times; sound where `seconds` are given."""
    pictures = make_video(folder / f"pictures{suffix}", 10, (SIZE[1], SIZE[0]), times_ms=TIMES_MS)
    return add_sound(pictures, folder / f"clip{suffix}", seconds) if seconds else pictures


def segment(path: Path, frames: Sequence[int] | None = None, span: range | None = None) -> Segmented:
    """Three sentences: two objects, one of them, none."""
    source = open_source(path)
    frames = tuple(range(len(source))) if frames is None else tuple(frames)
    dog = an_object(0, "object 1", 0.93, moving(len(frames)))
    other = an_object(2, "object 2", 0.71, late(len(frames)))
    sentences = (
        Sentence(TEXTS[0], (dog, other)),
        Sentence(TEXTS[1], (other,)),
        Sentence(TEXTS[2], (), "No object was found"),
    )
    return Segmented(source, range(len(source)) if span is None else span, frames, sentences)


def truth(segmented: Segmented, sentence: int, row: int) -> np.ndarray:
    """(H, W), the union of a sentence's masks in a processed frame."""
    union_HW = np.zeros(segmented.source.size, bool)
    for found in segmented.sentences[sentence].objects:
        rle = found.rles_T[row]
        if rle is not None:
            union_HW |= masks.decode(rle)
    return union_HW
