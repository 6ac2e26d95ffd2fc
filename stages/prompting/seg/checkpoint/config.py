"""A published config.json: read, never run, and checked by name."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.prompting.seg.checkpoint.families import Family, Opened


def read_config(folder: Path) -> dict[str, Any]:
    """Raises ValueError where it is missing or damaged."""
    file = folder / "config.json"
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{file}: missing; fetch the checkpoint again, or correct its `path`") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not readable as JSON ({error}); fetch it again") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{file}: not a JSON object; fetch it again")
    return raw


def check_kind(raw: Mapping[str, Any], family: Family, folder: Path) -> None:
    """Raises ValueError where config.json says that the checkpoint is of another family."""
    said = raw.get("architectures") or [raw.get("model_type")]
    if not any(kind in family.kinds for kind in said):
        raise ValueError(
            f"{folder / 'config.json'}: architectures says {', '.join(map(str, said))}; family {family.name} reads "
            f"{' or '.join(family.kinds)}: set models.seg.family to the checkpoint's"
        )


def lacking(raw: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    """Raises ValueError naming the first of `keys` that is not there."""
    for key in keys:
        if key not in raw:
            raise ValueError(f"{where}: lacks {key}; fetch the checkpoint's own config.json")


def need(values: Mapping[str, Any], needed: Mapping[str, Any], where: str) -> None:
    """Raises ValueError where a value is not the needed one."""
    for key, wanted in needed.items():
        if values[key] != wanted:
            raise ValueError(f"{where}: {key} is {values[key]!r}, must be {wanted!r}")


def vocabulary_rows(opened: Opened, name: str, said: int | None) -> int:
    """Rows of the embeddings `name`: what config.json says, or as many as the tokenizer has tokens.

    Raises:
        ValueError: the file's are neither, or fewer than the tokenizer has tokens.
    """
    tokens = len(opened.tokenizer)
    if name not in opened.shapes:
        return said or tokens  # its absence is named with the others'
    rows = opened.shapes[name][0]
    if rows not in (said, tokens) or rows < tokens:
        raise ValueError(
            f"{opened.folder}: {name} has {rows} rows, its tokenizer {tokens} tokens, and config.json says {said}; "
            "tokenizer, config.json and weights are not of one checkpoint: fetch them again"
        )
    return rows
