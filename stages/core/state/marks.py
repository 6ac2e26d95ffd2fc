"""Folders that are ours: only what carries our mark is ever removed or replaced.

The mark is a hidden file with a line that says what the folder is. Deliverables of earlier versions have none, and are
recognised by their provenance.json.
"""

import json
import shutil
from pathlib import Path

MARK = ".referee"
PROVENANCE = "provenance.json"


def mark(folder: Path, what: str) -> None:
    """Marks a folder that was just made; `what` it holds is for people who wonder."""
    (folder / MARK).write_text(f"Made by Referee, and replaced by it: {what}\n", encoding="utf-8")


def is_ours(folder: Path) -> bool:
    """Whether a folder may be replaced: it carries our mark, or holds nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return (folder / MARK).is_file() or _has_provenance(folder) or not any(folder.iterdir())


def refuse_foreign(folder: Path) -> None:
    """Returns if nothing is at `folder`, or it may be replaced.

    Raises:
        ValueError: something is there that we did not make.
    """
    if (folder.exists() or folder.is_symlink()) and not is_ours(folder):
        kind = "a link" if folder.is_symlink() else "a folder" if folder.is_dir() else "a file"
        raise ValueError(
            f"{folder}: is {kind} that Referee did not make, and would be replaced; move it away, or give another place"
        )


def refuse_output(out: Path, *inputs: Path) -> None:
    """Returns if a file may be written at `out`, possibly in place of an existing one.

    Args:
        inputs: files and folders that are read, none of which may be replaced.

    Raises:
        ValueError: a folder or a link is there, or what is there is not a file; or it is an input, or is inside one.
    """
    if out.is_symlink() or (out.exists() and not out.is_file()):
        kind = "a link" if out.is_symlink() else "a folder" if out.is_dir() else "not a file"
        raise ValueError(f"{out}: is {kind}, in the place of the file to write; give another place")
    place = out.resolve()
    for given in inputs:
        same = out.exists() and given.exists() and out.samefile(given)
        if same or given.resolve() in (place, *place.parents):
            raise ValueError(f"{out}: is read, as (a part of) {given}, and would be replaced; give another place")


def remove_ours(folder: Path) -> None:
    """Removes a folder that is ours, and refuses every other; nothing there is fine."""
    refuse_foreign(folder)
    if folder.exists():
        shutil.rmtree(folder)


def _has_provenance(folder: Path) -> bool:
    try:
        document = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and "referee" in document
