"""What a mask PNG must be: one judgement for submissions that are checked and masks that are imported.

Legend: H height, W width.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.exchange.png import MASK_MODES, MAX_PIXELS, WHITE, davis_palette

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"IEND\xaeB`\x82"  # the last chunk of a PNG, with its checksum
OTHERS = {b"\xff\xd8": "JPEG", b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
SIXTEEN = "I;16"  # Pillow's mode of 16-bit grey
SHADES = ("L", SIXTEEN)  # modes that hold grey values
FULL = {"L": 0xFF, SIXTEEN: 0xFFFF}  # white
# What Pillow raises for files that are damaged or malicious.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class Defect(ValueError):
    """What is wrong with a mask PNG: its kind (one of `stages.exchange.check.KINDS`), and words that follow its name."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind, self.words = kind, words


@dataclass(frozen=True)
class Form:
    """What is accepted as a mask PNG.

    Attributes:
        modes: Pillow's names.
        values: alternatives of what its pixels may hold besides 0.
        davis: a palette must be that of DAVIS as far as the values go; otherwise it must show a background where the
            mask has 0, and something else where it has the object.
        shades: grey values are accepted too, if a threshold is given.
        threshold: share of white from which a grey pixel is the object; None = grey values are refused.
    """

    modes: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    davis: bool = False
    shades: bool = False
    threshold: float | None = None


def submitted(mode: str, values: Sequence[int]) -> Form:
    """What a server accepts, as the layout says (`stages.exchange.layouts`)."""
    return Form((mode,), (tuple(values),), davis=tuple(values) != (WHITE,))


def imported(values: Sequence[int], threshold: float | None = None) -> Form:
    """What an import accepts: the same in every unambiguous mode; for 0 and 255 also 0 and 1."""
    binary = tuple(values) == (WHITE,)
    alternatives = ((WHITE,), (1,)) if binary else (tuple(values),)
    if not binary:
        return Form(("L", "P"), alternatives)
    return Form(MASK_MODES, alternatives, shades=True, threshold=threshold)


def judge(data: bytes, size: tuple[int, int] | None, form: Form) -> NDArray[np.uint8]:
    """The pixels (H, W) of a sound PNG; palette indices stay as they are, mode 1 and thresholds give 0 and 255.

    Args:
        size: (height, width) it must have; None = unknown.

    Raises:
        Defect: it is not sound.
    """
    with _opened(data, size, form) as image:
        bytewise = image.convert("L") if image.mode == "1" else image
        pixels_HW = np.asarray(bytewise)
        if form.threshold is not None and image.mode in SHADES:
            return np.where(pixels_HW >= form.threshold * FULL[image.mode], np.uint8(WHITE), np.uint8(0))
        used = [
            value for value, count in enumerate(bytewise.histogram()) if count
        ]  # NumPy's would widen the pixels first
        _check_values(image.mode, used, form)
        _check_colours(image, used, form)
        return pixels_HW


def shares(data: bytes, size: tuple[int, int]) -> NDArray[np.float64]:
    """The pixels (H, W) of a sound grey PNG, 8 or 16 bits, as shares of white: 0 … 1.

    Raises:
        Defect: it is not sound, or of another mode.
    """
    with _opened(data, size, Form(("L",), (), shades=True, threshold=0.5)) as image:
        return np.asarray(image, np.float64) / FULL[image.mode]


@contextmanager
def _opened(data: bytes, size: tuple[int, int] | None, form: Form) -> Iterator[Image.Image]:
    """A whole PNG, decoded, of a form's size and mode; what goes wrong while it is used is a defect too."""
    _check_whole(data)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            _check_header(image, size, form)
            image.load()
            yield image
    except Defect:
        raise
    except BROKEN as error:
        raise Defect("unreadable", f"is no readable PNG ({error})") from error


def _check_whole(data: bytes) -> None:
    """Pillow may accept a PNG without its end; other decoders do not."""
    if not data:
        raise Defect("unreadable", "is no readable PNG (it is empty)")
    if not data.startswith(SIGNATURE):
        kind = next((kind for start, kind in OTHERS.items() if data.startswith(start)), None)
        raise Defect(
            "unreadable", f"is no readable PNG ({'it has no PNG header' if kind is None else f'it is a {kind}'})"
        )
    if END not in data:
        raise Defect("unreadable", "is no readable PNG (it is cut short)")


def _check_header(image: Image.Image, size: tuple[int, int] | None, form: Form) -> None:
    """Runs before any pixel is decoded: the header may declare gigabytes."""
    height, width = image.height, image.width
    if size is not None and (height, width) != tuple(size):
        raise Defect("size", f"is {height}×{width} (height×width), its frame is {size[0]}×{size[1]}")
    if height * width > MAX_PIXELS:
        raise Defect("refused", f"declares {height}×{width} pixels; no frame is that large")
    if getattr(image, "n_frames", 1) > 1:
        raise Defect("mode", f"is an animation of {getattr(image, 'n_frames')} pictures; a mask is one")  # noqa: B009
    modes = (*form.modes, SIXTEEN) if form.threshold is not None else form.modes
    if image.mode not in modes:
        mode = f"{image.mode}{' (16-bit grey)' if image.mode == SIXTEEN else ''}"
        advice = "; --threshold takes it" if form.shades and image.mode == SIXTEEN else ""
        raise Defect("mode", f"is of mode {mode} instead of {' or '.join(form.modes)}{advice}")
    if image.mode != "P" and "transparency" in image.info:
        raise Defect("mode", "declares a grey value to be transparent; save it without transparency")


def _check_values(mode: str, used: Sequence[int], form: Form) -> None:
    objects = [value for value in used if value]
    if any(set(objects) <= set(allowed) for allowed in form.values):
        return
    wrong = [value for value in objects if value not in form.values[0]]
    shown = ", ".join(map(str, wrong[:5])) + (", …" if len(wrong) > 5 else "")
    allowed = ", or ".join(f"0 and {', '.join(map(str, one)) or 'nothing else'}" for one in form.values)
    shades = form.shades and mode in SHADES
    advice = "; if they are shades, --threshold says from which on they are the object" if shades else ""
    raise Defect("values", f"holds values {shown}; allowed are {allowed}{advice}")


def _check_colours(image: Image.Image, used: Sequence[int], form: Form) -> None:
    """Pixels are read as numbers, so the colours of a palette must not contradict them."""
    palette = image.getpalette() if image.mode == "P" else None
    if palette is None:
        return
    opacity = _opacities(image)
    colours = [(*palette[3 * i : 3 * i + 3], opacity.get(i, 0xFF)) for i in range(len(palette) // 3)]
    if used[-1] >= len(colours):
        raise Defect("values", f"holds value {used[-1]}, but its palette has {len(colours)} colours")
    if form.davis:
        n = min(max(form.values[0], default=0) + 1, len(colours))
        davis = davis_palette()
        if [colour[:3] for colour in colours[:n]] != [tuple(davis[3 * i : 3 * i + 3]) for i in range(n)]:
            raise Defect("values", "its palette is not that of DAVIS")
        return
    background = colours[0]
    if background[:3] != (0, 0, 0) and background[3]:
        raise Defect(
            "values", f"has a palette whose value 0 is not the background: it is {_colour(background)}, not black"
        )
    for value in used:
        if value and (not colours[value][3] or colours[value] == background):
            raise Defect(
                "values", f"has a palette that shows value {value} as the background: {_colour(colours[value])}"
            )


def _opacities(image: Image.Image) -> dict[int, int]:
    """Palette index → opacity, 0 … 255, where one is declared."""
    transparency = image.info.get("transparency", b"")
    return {transparency: 0} if isinstance(transparency, int) else dict(enumerate(transparency))


def _colour(rgba: Sequence[int]) -> str:
    return f"RGB {', '.join(map(str, rgba[:3]))}" + (f" at opacity {rgba[3]}" if rgba[3] != 255 else "")
