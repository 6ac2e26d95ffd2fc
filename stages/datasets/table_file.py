"""Loads a data set's table of comma-separated values, refusing what csv silently repairs."""

import csv
import logging
from pathlib import Path
from typing import NamedTuple

from stages.core.records import Expression, caption_defect, check_id, clean_caption
from stages.core.spelling import nfc
from stages.core.text_files import read_text

log = logging.getLogger(__name__)


class Row(NamedTuple):
    """A row of a table, and where it is (file and line)."""

    where: str
    cells: tuple[str, ...]


def load_table(path: Path, width: int) -> list[Row]:
    """All rows that are not blank, the header (where there is one) among them.

    A last line without a line break gives a warning.

    Raises:
        ValueError: the file is missing, not UTF-8, empty, has a quotation that does not close, or a row of
            another number of cells than `width`; the message names the line.
    """
    text = read_text(path, "table")
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
    """`identifier` in the composed Unicode form, if it names one file or folder.

    Raises:
        ValueError: it does not; the message names the row.
    """
    identifier = nfc(identifier)
    try:
        check_id(identifier, "video id")
    except ValueError as error:
        raise ValueError(f"{row.where}: {error}") from error
    if "/" in identifier:
        raise ValueError(f"{row.where}: video id {identifier!r} holds a '/'; it names one file or folder")
    return identifier


def read_expression(row: Row, identifier: str, text: str) -> Expression:
    """The expression of a line, which refers to the annotation of its own id; its caption may be a defect."""
    wrong = caption_defect(text)
    return Expression(
        identifier, clean_caption(text), (identifier,), text, defect=f"{row.where}: {wrong}" if wrong else ""
    )
