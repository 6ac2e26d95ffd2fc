"""Reader of Ref-YouTube-VOS (Seo et al., ECCV 2020).

    <root>/<split>/JPEGImages/<video>/00000.jpg …           every fifth frame; not every video starts at 00000
    <root>/<split>/Annotations/<video>/00000.png …          train only: palette images, index = obj_id
    <root>/meta_expressions/<split>/meta_expressions.json   the index; obj_id ("1", a string) in train only

The index of valid also lists the videos of test: what the test index lists is left out of valid (507 − 305 =
202 videos). YouTube-VOS' own valid/Annotations (first frames only) say nothing about expressions.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.tables import Counts, Format
from stages.datasets.checks import warn_of_counts
from stages.datasets.expression_index import (
    Entry,
    IndexReader,
    count_expressions,
    expressions_of,
    load_videos,
    names_something,
    object_id,
)
from stages.datasets.label_split import LabelSplit

log = logging.getLogger(__name__)

# Split → (videos, expressions) as published; valid without the videos of test.
PUBLISHED: Counts = {"train": ((3471, 12913),), "valid": ((202, 834),), "test": ((305, None),)}


class YtvosSplit(LabelSplit):
    """One split of Ref-YouTube-VOS."""

    protocol = "ytvos"


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> YtvosSplit:
    """Reads the index of a split.

    Args:
        limit: only the first videos of the index (after test's are left out); None = all.
        published: it is the published set, whose counts are known: counts that differ give a warning.

    Raises:
        ValueError: the index is missing, is not JSON, lacks its keys, holds an id that cannot be a path, or
            refers to objects although there are no annotations.
    """
    index = index_path(root, split)
    raw = load_videos(index)
    if split == "valid":
        raw = _without_test(root, raw, index)
    warn_of_counts(index, len(raw), count_expressions(raw), PUBLISHED.get(split, ()) if published else ())
    annotations = annotations_folder(root / split, raw, index)
    reader = IndexReader(index, root / split / "JPEGImages", no_truth if annotations is None else one_object)
    videos, left_out = reader.videos(raw)
    return YtvosSplit(split, videos[:limit], annotations, left_out)


def index_path(root: Path, split: str) -> Path:
    return root / "meta_expressions" / split / "meta_expressions.json"


def annotations_folder(folder: Path, raw: Mapping[str, Any], index: Path) -> Path | None:
    """<folder>/Annotations, if the index refers to objects.

    Raises:
        ValueError: it does, but the folder is not there.
    """
    for video, entry in raw.items():
        for name, expression in expressions_of(entry).items():
            if isinstance(expression, dict) and names_something(expression.get("obj_id")):
                if not (folder / "Annotations").is_dir():
                    raise ValueError(
                        f"{index}: video {video!r}, expression {name!r} refers to an object, but {folder}/Annotations "
                        "does not exist: put the label images there"
                    )
                return folder / "Annotations"
    return None


def one_object(entry: Entry) -> tuple[str, ...]:
    """The one object of an expression in a split with ground truth."""
    return (object_id(entry),)


def no_truth(entry: Entry) -> None:
    """The target is unknown."""


def _without_test(root: Path, raw: Mapping[str, Any], index: Path) -> dict[str, Any]:
    test = index_path(root, "test")
    if not test.is_file():
        log.warning("%s: does not exist, so that the videos of test cannot be left out of %s", test, index)
        return dict(raw)
    hidden = load_videos(test)
    return {video: entry for video, entry in raw.items() if video not in hidden}


FORMAT = Format(
    name="ytvos",
    open_split=open_split,
    index_files=("meta_expressions/*/*.json",),
    counts=PUBLISHED,
    split_folders=True,
)
