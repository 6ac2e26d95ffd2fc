"""Another run of the same split, to stand beside this one: read from its folder of results alone."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.core.media import masks
from stages.core.media.pictures import BROKEN
from stages.core.records import Expression, Rle, Video
from stages.core.state.renders import PREDICTIONS
from stages.report.entries import Row
from stages.report.small import stride_of

FLAGS = ("no_target", "predicted_empty", "missing")


@dataclass(frozen=True)
class OtherRun:
    """The results that are compared.

    Attributes:
        folder: of its results.
        summary: its metrics.json.
        rows: (video, expression) → its row of per_expression.csv.
    """

    folder: Path
    summary: Mapping[str, Any]
    rows: Mapping[tuple[str, str], Row]

    @cached_property
    def name(self) -> str:
        return "/".join(self.folder.parts[-4:])

    def row_of(self, video: Video, expression: Expression) -> Row | None:
        """The row of the same sentence about the same video."""
        row = self.rows.get((video.id, expression.id))
        return row if row is not None and row["caption"] == expression.text else None

    def masks_of(self, video: Video, expression: Expression, names: Sequence[str]) -> list[Rle | None] | None:
        """Its prediction at the size of a page, a mask per frame; None where it has none."""
        folder = self.folder / PREDICTIONS / video.id / expression.id
        if not folder.is_dir() or self.row_of(video, expression) is None:
            return None
        return [_read_mask(folder / f"{name}.png") for name in names]


def open_other(folder: Path) -> OtherRun:
    """
    Raises:
        ValueError: the folder does not hold the results of a run.
    """
    try:
        summary = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        with (folder / "per_expression.csv").open(encoding="utf-8", newline="") as file:
            rows = [_row_of(raw) for raw in csv.DictReader(file)]
        return OtherRun(folder.resolve(), dict(summary), {(row["video"], row["expression"]): row for row in rows})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--compare {folder}: holds no results of a run ({error}); give a folder with metrics.json and "
            "per_expression.csv, as results/shapes/valid_u"
        ) from error


def _row_of(raw: Mapping[str, str]) -> dict[str, Any]:
    """A line of the table with numbers and flags as such."""
    texts = ("video", "expression", "caption", "group")
    row: dict[str, Any] = {name: raw[name] for name in texts}
    for name, value in raw.items():
        if name not in texts:
            row[name] = value == "True" if name in FLAGS and value else float(value) if _is_number(value) else None
    return row


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_mask(path: Path) -> Rle | None:
    """None where nothing is marked, or there is no such file."""
    if not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            mask_HW = np.asarray(image.convert("L")) > 127
    except BROKEN as error:
        raise ValueError(f"{path}: cannot be read ({error}); compare with an undamaged folder") from error
    k = stride_of((mask_HW.shape[0], mask_HW.shape[1]))
    small_HW = mask_HW[::k, ::k]
    return masks.encode(small_HW) if small_HW.any() else None
