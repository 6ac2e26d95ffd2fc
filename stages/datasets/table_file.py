"""Loads a data set's table of comma-separated values, refusing what csv silently mends."""

import csv
import logging
from pathlib import Path
from typing import NamedTuple

from stages.core.records import check_id, clean_caption

log = logging.getLogger(__name__)


class Row(NamedTuple):
    """A row of a table and where it stands."""

    where: str
    cells: tuple[str, ...]


def load_table(path: Path, width: int) -> list[Row]:
    """All rows that are not blank, the header (where there is one) among them.

    A last line without end is warned of.

    Raises:
        ValueError: the file is missing, not UTF-8, empty, has a quotation that does not close, or a row of
            another number of cells than `width`; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: the table does not exist; put it there or correct the data set's root") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise ValueError(f"{path}: not readable ({error.strerror}); check its kind and its rights") from error
    rows = _parse(path, text)
    if not rows:
        raise ValueError(f"{path}: the table is empty; restore it")
    if not text.endswith(("\n", "\r")):
        log.warning("%s: the last line does not end; if the file is cut, restore it", path)
    for row in rows:
        if len(row.cells) != width:
            raise ValueError(f"{row.where}: holds {len(row.cells)} cells instead of {width}; restore the line")
    return rows


def _parse(path: Path, text: str) -> list[Row]:
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(Row(f"{path}:{reader.line_num}", tuple(cell.strip() for cell in cells)))
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: broken line ({error}); restore it") from error
    return rows


def check_video_id(row: Row, identifier: str) -> str:
    """Returns `identifier` if it names one file or folder; raises ValueError, naming the row, where it does not."""
    try:
        check_id(identifier, "video id")
    except ValueError as error:
        raise ValueError(f"{row.where}: {error}") from error
    if "/" in identifier:
        raise ValueError(f"{row.where}: video id {identifier!r} holds a '/'; it names one file or folder")
    return identifier


def caption_defect(row: Row, text: str) -> str:
    """What is wrong with a caption; "" for a sound one."""
    return "" if clean_caption(text) else f"{row.where}: has no caption; write one or delete the line"
