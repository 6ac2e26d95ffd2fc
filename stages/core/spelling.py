"""Names that are the same in different Unicode forms: a Mac stores "é" as two characters, most programs write one."""

import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

T = TypeVar("T")


def nfc(text: str) -> str:
    """Text in the composed form."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


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
