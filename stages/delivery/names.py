"""Names of files from sentences, in any script: `the dog that turns` → `the-dog-that-turns`; and of folders from videos."""

import hashlib
import unicodedata
from collections.abc import Sequence

from stages.core.spelling import is_printable, nfc

MAX_FOLDER = 240  # bytes of a folder's name, before the digits that tell it from another; file systems have 255
MAX_BYTES = 80  # of a name in UTF-8, before its ending
SHORT = 6  # hex digits that tell apart what would have one name
# What Windows opens as a device, whatever its ending.
DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{number}" for kind in ("com", "lpt") for number in range(1, 10))}


def slugs(texts: Sequence[str]) -> list[str]:
    """A name per text, all of them different on any file system; a text alone has the name that it has among others,
    unless two would be the same."""
    plain = [slug(text) for text in texts]
    return [
        name if plain.count(name) == 1 else _with_digest(name, text) for name, text in zip(plain, texts, strict=True)
    ]


def slug(text: str) -> str:
    """Letters, digits and marks of the text in lower case, hyphens for all else; cut texts and texts without a letter
    get six digits of their digest."""
    composed = unicodedata.normalize("NFC", text).lower()
    words = "".join(letter if _is_kept(letter) else " " for letter in composed).split()
    name = "-".join(words)
    whole = name and len(name.encode()) <= MAX_BYTES and name not in DEVICES
    return name if whole else _with_digest(name or "sentence", text)


def joined(texts: Sequence[str]) -> str:
    """One name for several texts."""
    if len(texts) == 1:
        return slug(texts[0])
    name = "+".join(slugs(texts))
    return name if len(name.encode()) <= MAX_BYTES else _with_digest(name, "\n".join(texts))


def folders(stems: Sequence[str], digits: Sequence[str]) -> list[str]:
    """A name of a folder per video, all of them different on any file system.

    Args:
        stems: the names of the videos, without their endings.
        digits: what is appended where several would have one name.
    """
    plain = [_folder(stem) for stem in stems]
    same = [nfc(name).lower() for name in plain]
    return [
        name if same.count(key) == 1 else f"{name}-{own}" for name, key, own in zip(plain, same, digits, strict=True)
    ]


def _folder(stem: str) -> str:
    """The name itself, but visible, below its folder, on one line and not too long."""
    line = "".join(letter if is_printable(letter) else " " for letter in stem).strip().lstrip(". ")
    return line.encode()[:MAX_FOLDER].decode(errors="ignore").rstrip() or "video"


def _is_kept(letter: str) -> bool:
    return letter.isalnum() or unicodedata.category(letter).startswith("M")


def _with_digest(name: str, text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:SHORT]
    short = name.encode()[: MAX_BYTES - SHORT - 1].decode(errors="ignore").rstrip("-+")
    return f"{short}-{digest}"
