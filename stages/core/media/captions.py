"""Text on frames: a bar with a sentence below the picture, a note on it. Pure functions on arrays.

Legend: H height, W width, 3 RGB.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.core.media import fonts

Image3 = NDArray[np.uint8]

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
LINES = 2  # of a bar, in its largest letters
SMALLEST = 0.6  # letters of long sentences, as a share of the largest
LINE_HEIGHT = 1.35


def add_caption(frame_HW3: Image3, text: str, font: str | None = None) -> Image3:
    """The frame with a bar below it that holds the text: (H + bar, W, 3).

    The bar's height depends on the width alone. Long texts are written smaller, and end in an ellipsis where that is
    not enough. Characters that no font has show as boxes, with a warning.

    Args:
        font: a font file that is tried first.
    """
    return np.concatenate([frame_HW3, _bar(text, frame_HW3.shape[1], font)])


def add_note(frame_HW3: Image3, text: str, font: str | None = None) -> Image3:
    """The frame with the text on a dark strip along its upper edge, as far as there is room."""
    height, width = frame_HW3.shape[:2]
    strip_HW3 = _strip(text, width, font)[:height]
    image_HW3 = frame_HW3.copy()
    image_HW3[: len(strip_HW3)] = strip_HW3
    return image_HW3


def add_heading(frame_HW3: Image3, text: str, font: str | None = None) -> Image3:
    """The frame with a strip above it that holds the text: (strip + H, W, 3)."""
    return np.concatenate([_strip(text, frame_HW3.shape[1], font), frame_HW3])


@lru_cache(maxsize=8)
def _bar(text: str, width: int, font: str | None) -> Image3:
    largest = _letter_size(width)
    margin = largest // 2
    height = 2 * margin + round(largest * LINE_HEIGHT) * LINES
    size, lines = _fitted(printable(text), largest, width - 2 * margin, height - 2 * margin, font)
    return _written(lines, size, (width, height), margin, font)


@lru_cache(maxsize=8)
def _strip(text: str, width: int, font: str | None) -> Image3:
    size = max(9, round(_letter_size(width) * 0.8))
    margin = size // 2
    lines = wrap(printable(text), size, max(1, width - 2 * margin), font)[:LINES]
    height = margin + round(size * LINE_HEIGHT) * len(lines)
    return _written(lines, size, (width, height), margin, font)


def _letter_size(width: int) -> int:
    return min(28, max(11, width // 36))


def _fitted(text: str, largest: int, width: int, height: int, font: str | None) -> tuple[int, list[str]]:
    """The largest letters in which the text fits, and its lines; cut in the smallest where it never does."""
    smallest = max(8, round(largest * SMALLEST))
    for size in range(largest, smallest - 1, -1):
        lines = wrap(text, size, max(1, width), font)
        room = max(1, height // round(size * LINE_HEIGHT))
        if len(lines) <= room:
            return size, lines
    return smallest, [*lines[: room - 1], lines[room - 1][:-1] + "…"]


def _written(lines: Sequence[str], size: int, picture: tuple[int, int], margin: int, font: str | None) -> Image3:
    """A black picture of (width, height) with the lines in the middle of its height."""
    image = Image.new("RGB", picture, BLACK)
    line_height = round(size * LINE_HEIGHT)
    top = max(0, (picture[1] - line_height * len(lines)) // 2)
    for row, line in enumerate(lines):
        fonts.draw(image, (margin, top + row * line_height), line, size, WHITE, font)
    return np.asarray(image)


def wrap(text: str, size: int, width: int, font: str | None) -> list[str]:
    """Lines of at most `width` pixels, broken at spaces; words that are wider break anywhere."""
    lines = [""]
    for word in text.split():
        if fonts.length(f"{lines[-1]} {word}".strip(), size, font) <= width:
            lines[-1] = f"{lines[-1]} {word}".strip()
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and fonts.length(lines[-1] + letter, size, font) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def printable(text: str) -> str:
    """The text on one line, without what no font can draw (control characters, half surrogates)."""
    sound = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if letter.isprintable() or letter in "\u200c\u200d" else " " for letter in sound)
