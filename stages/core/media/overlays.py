"""Masks on frames for people to look at: tint and border per object, drawn by `supervision`, and a label.

Pictures for models have drawings of their own (`stages.core.media.drawing`): what a judge was trained to see does not
change with what people like.

Legend: H height, W width, 3 RGB, N objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from PIL import Image

from stages.core.media.captions import LINE_HEIGHT, printable, wrap
from stages.core.media.drawing import BLACK, WHITE, Bool, Colour, Image3
from stages.core.media.labels import Label, draw_labels

# Okabe and Ito's colours, told apart by people with any kind of colour blindness (Nature Methods 8, 441; 2011), used in
# turn: https://jfly.uni-koeln.de/color
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
LETTERS = 1 / 40  # height of letters as a share of a picture's mean side
SMALL = 240  # pixels of the longest side below which there is no room for rims, second lines, and figures alone
SMALLEST = 11  # pixels of letters that can be read
WIDEST = 0.5  # of a label, as a share of the picture's width
TALLEST = 0.25  # of a label, as a share of the picture's height


@dataclass(frozen=True)
class Marked:
    """An object in a frame.

    Attributes:
        number: 0 or more: gives its colour.
        mask_HW: of the frame's size.
        label: words beside it; "" = none.
        figure: what follows the words and is never cut, as a score; "" = nothing.
    """

    number: int
    mask_HW: Bool
    label: str = ""
    figure: str = ""


def colour_of(number: int) -> Colour:
    """The colour that goes with an object, in every frame and picture."""
    return COLOURS[number % len(COLOURS)]


def draw_overlay(frame_HW3: Image3, objects: Sequence[Marked], opacity: float, font: str | None = None) -> Image3:
    """A new picture with every visible object tinted, outlined and labelled; sizes go with the picture's.

    Args:
        opacity: of the tint, 0 to 1.
        font: a font file that is tried first for labels.

    Raises:
        ValueError: a mask is not of the frame's size.
    """
    for marked in objects:
        if marked.mask_HW.shape != frame_HW3.shape[:2]:
            raise ValueError(f"a mask of {marked.mask_HW.shape} cannot be drawn on a frame of {frame_HW3.shape[:2]}")
    visible = [marked for marked in objects if marked.mask_HW.any()]
    if not visible:
        return frame_HW3.copy()
    import supervision as sv  # late: it takes a second

    masks_NHW = np.stack([marked.mask_HW for marked in visible])
    detections = sv.Detections(xyxy=sv.mask_to_xyxy(masks_NHW).astype(np.float32), mask=masks_NHW)
    colours_N = np.asarray([marked.number % len(COLOURS) for marked in visible])
    scene_HW3: Any = cv2.cvtColor(frame_HW3, cv2.COLOR_RGB2BGR)  # as supervision takes arrays
    for annotator in _drawers(max(frame_HW3.shape[:2]), opacity):
        scene_HW3 = annotator.annotate(scene_HW3, detections, custom_color_lookup=colours_N)
    image = Image.fromarray(cv2.cvtColor(scene_HW3, cv2.COLOR_BGR2RGB))
    size = letter_size(frame_HW3.shape)
    labels = []
    for marked, (x, y, *_) in zip(visible, detections.xyxy.astype(int).tolist(), strict=True):
        if lines := _fitted(marked, size, frame_HW3.shape, font):
            colour = colour_of(marked.number)
            labels.append(Label((x, y), lines, colour, _ink(colour)))
    if labels:
        draw_labels(image, labels, size, font)
    return np.asarray(image)


def letter_size(size: Sequence[int]) -> int:
    """Height in pixels of the letters on a picture of `size` = (height, width)."""
    return max(SMALLEST, round((size[0] + size[1]) / 2 * LETTERS))


@lru_cache(maxsize=4)
def _drawers(longest: int, opacity: float) -> tuple[Any, ...]:
    """Annotators for tints, then borders with a dark rim that shows on any background."""
    import supervision as sv

    palette, width = _palette(COLOURS), 1 if longest < SMALL else max(2, round(longest / 400))
    tint = sv.MaskAnnotator(color=palette, opacity=opacity)
    border = sv.PolygonAnnotator(color=palette, thickness=width)
    if longest < SMALL:
        return tint, border
    return tint, sv.PolygonAnnotator(color=sv.Color(*BLACK), thickness=width + 2), border


def _palette(colours: Sequence[Colour]) -> Any:
    import supervision as sv

    return sv.ColorPalette([sv.Color(*colour) for colour in colours])


def _ink(colour: Colour) -> Colour:
    """Black or white, what is read better on a colour (ITU-R BT.601 luma)."""
    return BLACK if np.dot(colour, (0.299, 0.587, 0.114)) > 110 else WHITE


def _fitted(marked: Marked, size: int, picture: Sequence[int], font: str | None) -> list[str]:
    """The label in lines that a picture has room for, cut with an ellipsis; the figure stays whole."""
    height, width = picture[:2]
    small = max(height, width) < SMALL
    if not marked.label:
        return [marked.figure] if marked.figure and not small else []
    room = 1 if small else max(1, int(height * TALLEST / (size * LINE_HEIGHT)))
    lines = wrap(printable(marked.label), size, max(1, round(width * WIDEST)), font)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"{lines[room - 1].rstrip()}…"]
    return [*lines[:-1], f"{lines[-1]} {marked.figure}".strip()]
