"""Labels beside boxes: words on a rounded ground, kept in the picture and off each other, each letter in a font that has it.

supervision's own labels are written in one font, which for many scripts has no digits: places are found as it finds them.

Legend: N labels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from stages.core.media import fonts
from stages.core.media.captions import LINE_HEIGHT
from stages.core.media.drawing import Colour


class Label(NamedTuple):
    """Words for a box.

    Attributes:
        corner: (x, y) that the lower left corner of the label is at, as far as there is room.
        lines: of words, none empty.
    """

    corner: tuple[int, int]
    lines: Sequence[str]
    ground: Colour
    ink: Colour


def draw_labels(image: Image.Image, labels: Sequence[Label], size: int, font: str | None) -> None:
    """Writes labels into the picture.

    Args:
        size: height of the letters in pixels.
        font: a font file that is tried first.
    """
    padding, pen = max(2, size // 4), ImageDraw.Draw(image)
    for label, (x0, y0, x1, y1) in zip(labels, _places(labels, image.size, size, padding, font), strict=True):
        pen.rounded_rectangle((x0, y0, x1, y1), size // 3, label.ground)
        for row, line in enumerate(label.lines):
            fonts.draw(image, (x0 + padding, y0 + padding + row * _line(size)), line, size, label.ink, font)


def _places(
    labels: Sequence[Label], picture: tuple[int, int], size: int, padding: int, font: str | None
) -> NDArray[np.int_]:
    """(N, 4) left, top, right, bottom of the labels' grounds in pixels."""
    from supervision.annotators.utils import snap_boxes  # late: it takes a second
    from supervision.detection.utils.boxes import spread_out_boxes

    sides = [(max(fonts.length(line, size, font) for line in label.lines), len(label.lines)) for label in labels]
    boxes: Any = [
        (x, y - n * _line(size) - 2 * padding, x + width + 2 * padding, y)
        for (x, y), (width, n) in zip((label.corner for label in labels), sides, strict=True)
    ]
    places_N4: Any = snap_boxes(np.asarray(boxes, np.float32), picture)
    if len(labels) > 1:
        places_N4 = snap_boxes(spread_out_boxes(places_N4).astype(np.float32), picture)
    return np.asarray(places_N4).round().astype(int)


def _line(size: int) -> int:
    return round(size * LINE_HEIGHT)
