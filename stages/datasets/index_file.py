"""Loads a data set's JSON index, refusing what json.load silently mends: keys that are given twice."""

import json
from pathlib import Path
from typing import Any


def load_index(path: Path) -> dict[str, Any]:
    """The object that a JSON index file holds.

    Raises:
        ValueError: the file is missing, not UTF-8, broken (with line and column), gives a key twice in one
            object, or holds no object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: the index does not exist; put it there or correct the data set's root") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}:{error.colno}: broken JSON ({error.msg}); mend that line") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except ValueError as error:  # a number of thousands of digits
        raise ValueError(f"{path}: broken JSON ({error}); mend the index") from error
    except OSError as error:
        raise ValueError(f"{path}: not readable ({error.strerror}); check its kind and its rights") from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply for an index; mend it") from error
    except _RepeatedKeyError as error:
        raise ValueError(f"{path}: the key {error.args[0]!r} is given twice in one object; keep one") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path}: an index is a JSON object; found {type(document).__name__}")
    return document


class _RepeatedKeyError(Exception):
    """Not a ValueError, so that it is not mistaken for what the JSON parser raises."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise _RepeatedKeyError(key)
        unique[key] = value
    return unique
