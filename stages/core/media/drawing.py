"""Masks drawn on frames: pure functions on arrays, for people and for the MLLM to look at.

Legend: H height, W width, 3 RGB. Every function returns a new image; an empty mask leaves it as it was.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from stages.core.media import fonts, masks
from stages.core.media.display import shrink
from stages.core.records import Rle

Image3 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Colour = tuple[int, int, int]

# Far apart from each other in hue and lightness, so that neighbours differ; used in turn.
COLOURS: tuple[Colour, ...] = (
    (255, 64, 32),
    (0, 170, 255),
    (255, 214, 0),
    (0, 200, 83),
    (213, 0, 249),
    (255, 145, 0),
    (29, 53, 255),
    (0, 255, 213),
)
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
MIN_DIGIT = 12  # pixels: smaller digits are not read
SMALL = 480  # pixels of the longest side up to which a picture is enlarged to be drawn on


def colour_of(number: int) -> Colour:
    """The colour that goes with a number, wherever it is drawn."""
    return COLOURS[number % len(COLOURS)]


def tint(frame_HW3: Image3, mask_HW: Bool, colour: Colour, opacity: float) -> Image3:
    """Lays `colour` over the mask; opacity 0 = nothing, 1 = the plain colour."""
    _check_size(frame_HW3, mask_HW.shape)
    image_HW3 = frame_HW3.copy()
    mixed_N3 = frame_HW3[mask_HW] * (1 - opacity) + np.asarray(colour) * opacity
    image_HW3[mask_HW] = np.rint(mixed_N3).astype(np.uint8)
    return image_HW3


def outline(frame_HW3: Image3, mask_HW: Bool, colour: Colour, width: int) -> Image3:
    """Draws the mask's borders, holes included, `width` pixels wide, with a dark rim that shows on any background."""
    _check_size(frame_HW3, mask_HW.shape)
    image_HW3 = np.ascontiguousarray(frame_HW3).copy()
    contours, _ = cv2.findContours(mask_HW.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image_HW3, contours, -1, BLACK, width + 2)
    cv2.drawContours(image_HW3, contours, -1, colour, width)
    return image_HW3


def draw_answer(frame_HW3: Image3, rle: Rle, max_side: int | None, opacity: float) -> Image3:
    """The frame, no side above `max_side`, with the mask tinted and outlined."""
    height, width = shrink(frame_HW3, max_side).shape[:2]
    return draw_objects(frame_HW3, [(0, rle)], (height, width), opacity)


def draw_objects(
    frame_HW3: Image3, objects: Sequence[tuple[int, Rle]], size: tuple[int, int], opacity: float
) -> Image3:
    """The frame at `size` = (height, width) with masks tinted and outlined, each in its number's colour."""
    height, width = size
    image_HW3 = resize_picture(frame_HW3, size)
    resized = [(colour_of(number), _resized(rle, size)) for number, rle in objects]
    for colour, mask_HW in resized:
        image_HW3 = tint(image_HW3, mask_HW, colour, opacity)
    for colour, mask_HW in resized:  # over all tints, so that each object shows its whole border
        image_HW3 = outline(image_HW3, mask_HW, colour, max(1, round(max(height, width) / 400)))
    return image_HW3


def viewing_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(height, width) at which a picture is drawn on: small ones enlarged by a whole factor, large ones shrunk.

    In a picture of few pixels an outline would cover what it is about.
    """
    height, width = size
    longest = max(size)
    if longest > max_side:
        scale = max_side / longest
        return max(1, round(height * scale)), max(1, round(width * scale))
    factor = max(1, min(SMALL, max_side) // longest)
    return height * factor, width * factor


def resize_picture(frame_HW3: Image3, size: tuple[int, int]) -> Image3:
    """The frame at `size` = (height, width)."""
    return np.asarray(Image.fromarray(frame_HW3).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def resize_mask(mask_HW: Bool, size: tuple[int, int]) -> Bool:
    """A mask at another resolution, interpolated; a pixel with a share of at least a half is the object."""
    if mask_HW.shape == size:
        return mask_HW
    shrinks = size[0] * size[1] < mask_HW.size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    shares_HW = cv2.resize(mask_HW.astype(np.float32), (size[1], size[0]), interpolation=method)
    return np.asarray(shares_HW >= 0.5)


def _resized(rle: Rle, size: tuple[int, int]) -> Bool:
    mask = Image.fromarray(masks.decode(rle)).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(mask)


def draw_numbered(
    frame_HW3: Image3, rles: Sequence[Rle], numbers: Sequence[int], width: int, badge: float = 1.0
) -> Image3:
    """Outlines every mask in its number's colour and puts a badge with the number well inside it.

    Args:
        rles: masks of the frame's size; empty ones (object not visible) get neither outline nor badge.
        numbers: one per mask.
        width: of the outlines in pixels; badges scale with the frame.
        badge: how much larger than usual the badges are, for pictures that are to be shrunk.

    Raises:
        ValueError: a mask is not of the frame's size, or numbers and masks differ in number.
    """
    if len(rles) != len(numbers):
        raise ValueError(f"{len(rles)} masks with {len(numbers)} numbers: give one number per mask")
    image_HW3 = frame_HW3
    visible = [(masks.decode(rle), number) for rle, number in zip(rles, numbers)]
    for mask_HW, number in visible:
        image_HW3 = outline(image_HW3, mask_HW, colour_of(number), width)
    taken_HW = np.zeros(frame_HW3.shape[:2], bool)
    for mask_HW, number in visible:
        if mask_HW.any():
            image_HW3 = _badge(image_HW3, mask_HW, number, taken_HW, badge)
    return image_HW3


def badge_size(size: Sequence[int]) -> int:
    """Height in pixels of the digits that are drawn on a frame of `size` = (height, width)."""
    return max(MIN_DIGIT, min(size) // 20)


def interior_point(mask_HW: Bool) -> tuple[int, int]:
    """(x, y) of the pixel farthest from the mask's border, the frame's edge included.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask_HW.any():
        raise ValueError("an empty mask has no interior point")
    distance = cv2.distanceTransform(np.pad(mask_HW, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    y, x = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(x) - 1, int(y) - 1


def _badge(image_HW3: Image3, mask_HW: Bool, number: int, taken_HW: Bool, scale: float) -> Image3:
    """Draws the number on its colour; keeps off the badges in `taken_HW` where the mask leaves room, and enters itself."""
    height, width = mask_HW.shape
    size = round(badge_size(mask_HW.shape) * scale)
    free_HW = mask_HW & ~taken_HW
    x, y = interior_point(free_HW if free_HW.any() else mask_HW)
    colour, text = colour_of(number), str(number)
    half_h, half_w = (
        round(size * 0.7),
        max(round(size * 0.7), round(fonts.load(None, size).getlength(text) / 2 + size * 0.3)),
    )
    x, y = _clamp(x, half_w, width), _clamp(y, half_h, height)
    image = Image.fromarray(image_HW3)
    draw = ImageDraw.Draw(image)
    ink = BLACK if np.dot(colour, (0.299, 0.587, 0.114)) > 128 else WHITE
    draw.rounded_rectangle((x - half_w, y - half_h, x + half_w, y + half_h), size // 3, colour, ink, max(1, size // 12))
    draw.text((x, y), text, ink, fonts.load(None, size), anchor="mm")
    taken_HW[max(0, y - 2 * half_h) : y + 2 * half_h, max(0, x - 2 * half_w) : x + 2 * half_w] = True
    return np.asarray(image)


def _clamp(centre: int, half: int, side: int) -> int:
    """The centre moved so that the badge stays inside, where it fits at all."""
    return max(half, min(centre, side - 1 - half)) if side > 2 * half else side // 2


def _check_size(frame_HW3: Image3, size: Sequence[int]) -> None:
    if tuple(frame_HW3.shape[:2]) != tuple(size):
        raise ValueError(f"a mask of {tuple(size)} cannot be drawn on a frame of {tuple(frame_HW3.shape[:2])}")
