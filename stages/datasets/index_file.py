"""Loads a data set's JSON index, refusing what json.load silently accepts: keys that are given twice."""

from pathlib import Path
from typing import Any

from stages.core.text_files import read_json


def load_index(path: Path) -> dict[str, Any]:
    """The object that a JSON index file holds.

    Raises:
        ValueError: as `read_json`, or the file holds no object.
    """
    document = read_json(path, "index")
    if not isinstance(document, dict):
        raise ValueError(f"{path}: an index is a JSON object; found {type(document).__name__}")
    return document
