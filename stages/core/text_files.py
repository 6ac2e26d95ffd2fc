"""Text and JSON files that people bring: read as their editors write them, and refused in words that help.

UTF-8 is read with or without a byte order mark, and UTF-16 where its mark says so: Windows' editors write both.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# How Python words a mistake, and what it is.
SAID = {
    "Unterminated string": "a text without its closing quotes",
    "Invalid control character": "a line break or tab inside a text; write \\n or \\t",
    "Invalid \\": "a backslash in a text; write it twice",
}
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, what: str = "file", encoding: str = "utf-8") -> str:
    """The text of a file, without its byte order mark.

    Args:
        what: names the file in messages: "the <what> does not exist".
        encoding: of a file without a mark.

    Raises:
        ValueError: the file is missing, is not a file, cannot be read, or has another encoding.
    """
    content = read_content(path, what)
    if content.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    elif content.startswith(UTF16):
        encoding = "utf-16"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.upper().removesuffix("-SIG")
        raise ValueError(f"{path}: not {name} (byte {error.start}); save it as {name}") from error


def read_content(path: Path, what: str = "file") -> bytes:
    """The bytes of a file; raises ValueError, naming it, where it is missing or not a file: pipes would block."""
    try:
        if path.is_symlink() and not path.exists():
            raise ValueError(f"{path}: a link to {path.readlink()}, which is not there; restore that file")
        if not path.exists():
            raise ValueError(f"{path}: the {what} does not exist; put it there or correct the data set's root")
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "a pipe or device"
            raise ValueError(f"{path}: the {what} is not readable ({kind}, not a file); put a file there")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: not readable ({error.strerror}); check its kind and its rights") from error


def read_json(path: Path, what: str = "file", fix: str = "fix that line") -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: as `read_text`, and where it is broken (with line, column and the mistake that people make there) or
            gives a key twice in one object.
    """
    text = read_text(path, what)
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}:{error.colno}: broken JSON ({mistake(error)}); {fix}") from error
    except ValueError as error:  # a number of thousands of digits
        raise ValueError(f"{path}: broken JSON ({error}); fix it") from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply; restore it") from error
    except _RepeatedKeyError as error:
        raise ValueError(f"{path}: the key {error.args[0]!r} is given twice in one object; keep one") from error


def mistake(error: json.JSONDecodeError) -> str:
    """What was probably done wrong, in words."""
    text, at = error.doc, error.pos
    before, after = text[:at].rstrip(), text[at:].lstrip()
    if not text.strip():
        return "the file is empty"
    for holds, words in _mistakes(before, after):
        if holds:
            return words
    for start, words in SAID.items():
        if error.msg.startswith(start):
            return words
    return error.msg if after else f"the text ends too early: {error.msg}"


def _mistakes(before: str, after: str) -> Iterator[tuple[bool, str]]:
    """Whether each of the common mistakes is made where the text breaks off, and its name."""
    yield after.startswith(("//", "/*", "#")), "a comment; JSON has none: delete it"
    yield before.endswith(",") and after.startswith(("}", "]")), "a comma before the closing bracket: delete it"
    yield after.startswith(",") and before.endswith((",", "[", "{")), "a comma without a value before it: delete it"
    yield after.startswith(("'", "‘", "’", "“", "”", "«", "„")), 'quotes of another kind; JSON\'s are "double quotes"'
    yield (
        re.match(r"(True|False|None)\b", after) is not None,
        "Python's True, False, None are true, false, null in JSON",
    )
    yield re.match(r"[^\W\d][\w-]*\s*:", after) is not None, 'a name without quotes; write it as "name"'
    ends = before.endswith(('"', "}", "]")) or before[-1:].isdigit()
    yield ends and after.startswith(('"', "{", "[")) and not _is_whole(before), "a comma is missing between two values"
    yield bool(after) and _is_whole(before), "more follows where the document has ended"


def _is_whole(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


class _RepeatedKeyError(Exception):
    """Not a ValueError, so that it is not mistaken for what the JSON parser raises."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        seen: set[str] = set()
        raise _RepeatedKeyError(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return unique
