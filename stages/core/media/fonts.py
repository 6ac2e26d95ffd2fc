"""Fonts for captions in any script: Pillow's own for Latin, and what the machine has installed for the rest.

A font has a character if it draws it differently from one that no font has. Fonts are searched by name: Noto first,
which has one for every script, then the others.
"""

import logging
import os
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
PREFERRED = ("NotoSansCJK", "NotoSans", "NotoEmoji", "NotoColorEmoji", "DejaVuSans.", "Noto", "Unifont", "unifont")
PASSED_OVER = (
    "Bold",
    "Italic",
    "Oblique",
    "Light",
    "Thin",
    "Black",
    "Medium",
    "Condensed",
    "Serif",
    "Mono",
    "LastResort",
)
BITMAP_SIZE = 109  # the one size that colour emoji are stored in
NOWHERE = "\U0010fffd"  # for private use: drawn as what a font lacks
# Drawn with the letter before them, or not at all: marks, joiners, variation selectors, spaces.
SILENT = {"Cf", "Mn", "Mc", "Me", "Cc", "Zs", "Zl", "Zp"}

log = logging.getLogger(__name__)

Run = tuple[str, str | None]  # text, and the file of its font; None = Pillow's own


@lru_cache(maxsize=256)
def runs_of(text: str, chosen: str | None = None) -> tuple[Run, ...]:
    """The text cut into pieces, each with a font that has all of its characters, as far as there is one.

    Args:
        chosen: a font file that is tried first, from the config.

    Raises:
        ValueError: `chosen` cannot be read.
    """
    needed = {letter for letter in text if unicodedata.category(letter) not in SILENT}
    if chosen is not None:
        check_font(chosen)
    for file in _fonts(chosen):  # one font for it all keeps its shaping and direction
        if all(has(file, letter) for letter in needed):
            return ((text, file),)
    fonts = {letter: _font_of(letter, chosen) for letter in sorted(needed)}
    runs: list[Run] = []
    for letter in text:
        file = fonts.get(letter, runs[-1][1] if runs else chosen)
        if runs and runs[-1][1] == file:
            runs[-1] = (runs[-1][0] + letter, file)
        else:
            runs.append((letter, file))
    return tuple(runs)


def length(text: str, size: int, chosen: str | None = None) -> float:
    """Width of a line of text in pixels."""
    return sum(_length(piece, file, size) for piece, file in runs_of(text, chosen))


def draw(
    image: Image.Image, place: tuple[int, int], text: str, size: int, ink: tuple[int, int, int], chosen: str | None
) -> None:
    """Draws a line of text from `place` (left, top) on."""
    x, y = float(place[0]), place[1]
    for piece, file in runs_of(text, chosen):
        if _is_bitmap(file):
            drawn = _bitmap(piece, file, size)
            image.paste(drawn, (round(x), y), drawn)
        else:
            # one baseline for all fonts, where Pillow's own has it
            baseline = y + round(size * 0.95)
            ImageDraw.Draw(image).text((x, baseline), piece, ink, load(file, size), anchor="ls")
        x += _length(piece, file, size)


def check_font(file: str) -> None:
    """Raises ValueError where a font file cannot be read."""
    try:
        load(file, 16)
    except OSError as error:
        raise ValueError(f"render.font: {file}: not readable as a font ({error}); give a .ttf or .otf file") from error


@cache
def load(file: str | None, size: int) -> Font:
    """A font at a size; None = Pillow's own, which has Latin letters."""
    if file is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(file, BITMAP_SIZE if _is_bitmap(file) else size)


@cache
def has(file: str | None, letter: str) -> bool:
    """Whether a font has a character."""
    try:
        font = load(file, BITMAP_SIZE)
        return _drawn(font, letter) != _drawn(font, NOWHERE)
    except (OSError, ValueError):
        return False


@cache
def _is_bitmap(file: str | None) -> bool:
    """Whether a font has pictures of one size, as colour emoji, and no outlines."""
    if file is None:
        return False
    try:
        ImageFont.truetype(file, 24)
    except OSError as error:
        return "invalid pixel size" in str(error)
    return False


def _drawn(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def _length(text: str, file: str | None, size: int) -> float:
    font = load(file, size)
    return font.getlength(text) * (size / BITMAP_SIZE if _is_bitmap(file) else 1)


def _bitmap(text: str, file: str | None, size: int) -> Image.Image:
    font = load(file, size)
    _, _, right, bottom = font.getbbox(text)
    drawn = Image.new("RGBA", (max(1, round(right)), max(1, round(bottom))))
    ImageDraw.Draw(drawn).text((0, 0), text, (255, 255, 255, 255), font, embedded_color=True)
    scale = size / BITMAP_SIZE
    return drawn.resize((max(1, round(right * scale)), max(1, round(bottom * scale))), Image.Resampling.BOX)


def _font_of(letter: str, chosen: str | None) -> str | None:
    for file in _fonts(chosen):
        if has(file, letter):
            return file
    _warn_of_boxes(_script(letter), letter)
    return chosen


def _fonts(chosen: str | None) -> Iterator[str | None]:
    yield from [chosen, None] if chosen is not None else [None]
    yield from installed()


@cache
def installed() -> tuple[str, ...]:
    """Font files of the machine, upright and of normal weight, the most useful first."""
    data = [Path(place) / "fonts" for place in os.environ.get("XDG_DATA_DIRS", "").split(":") if place]
    files: dict[str, Path] = {}
    for folder in [*(Path(folder).expanduser() for folder in FOLDERS), *data]:
        for file in sorted(folder.rglob("*.[tToO][tT][fFcC]")) if folder.is_dir() else ():
            if not any(word in file.stem for word in PASSED_OVER):
                files.setdefault(file.name, file)

    def rank(file: Path) -> tuple[int, str]:
        names = (number for number, name in enumerate(PREFERRED) if file.name.startswith(name))
        return next(names, len(PREFERRED)), file.name

    return tuple(str(file) for file in sorted(files.values(), key=rank))


def _script(letter: str) -> str:
    """A character's script as Unicode names it ("CJK", "ARABIC"), or "emoji"."""
    if unicodedata.category(letter) == "So":
        return "emoji"
    return unicodedata.name(letter, "unknown").split()[0]


def _warn_of_boxes(script: str, letter: str) -> None:
    """Once per script and process."""
    if script not in _WARNED:
        _WARNED.add(script)
        log.warning(
            "captions: no font here has characters as %r (%s): they are drawn as boxes. Install Noto fonts (Debian: "
            "fonts-noto-core, fonts-noto-cjk, fonts-noto-color-emoji), or set render.font to a font file that has them",
            letter,
            script,
        )


_WARNED: set[str] = set()
