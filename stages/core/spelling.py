"""How names are spelt: forms of Unicode that are the same (a Mac stores "é" as two characters, most programs write one),
and names that hold what cannot be shown.
"""

import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

T = TypeVar("T")


def nfc(text: str) -> str:
    """Text in the composed form."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_unicode(text: str) -> bool:
    """Whether text can be written: JSON can spell halves of a surrogate pair, and a name on a disk that is not in UTF-8 is read
    as such; no file or model takes them."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def is_printable(text: str) -> bool:
    """Whether a text is one line that a terminal shows as it is; joiners are parts of letters and emoji."""
    return text.replace("\u200c", "").replace("\u200d", "").isprintable()


def shown(name: object) -> str:
    """A path or name for a line of words: quoted and escaped where it holds a line break or another control character."""
    return str(name) if is_printable(str(name)) else repr(str(name))


def stored_path(folder: Path, name: str) -> Path:
    """<folder>/<name> as the disk spells it; the name as it is where nothing there is equal to it."""
    path = folder / name
    if name.isascii() or path.exists():
        return path
    for part in PurePosixPath(name).parts:
        folder = _entry(folder, part)
    return folder


def _entry(folder: Path, name: str) -> Path:
    if not (folder / name).exists() and folder.is_dir():
        alike = sorted(entry.name for entry in folder.iterdir() if nfc(entry.name) == nfc(name))
        name = alike[0] if alike else name
    return folder / name


def stored_key(values: Mapping[str, T], name: str) -> T | None:
    """The value of a name, however it is spelt; None where there is none."""
    if name in values or name.isascii():
        return values.get(name)
    return next((value for key, value in values.items() if nfc(key) == nfc(name)), None)
