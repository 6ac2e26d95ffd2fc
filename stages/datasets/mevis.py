"""Reader of the MeViS layout, versions 1 and 2 (Ding et al., ICCV 2023; MeViSv2, 2025).

    <root>/<split>/JPEGImages/<video>/00000.jpg …
    <root>/<split>/meta_expressions.json     the index: videos, their frames, their expressions
    <root>/<split>/mask_dict.json            annotation id → one RLE or null per frame; only with ground truth

A video's entry may hold more sentences to train selectors on, under the key "statements" in the form of "expressions"
(see `stages.core.records.Video`); the embedded data set has them. Both JSON files may also be inside JPEGImages, as
one public README nests them. What is wrong with the index as a whole raises; what is wrong with one video becomes its
`defect`, so that the others go on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.records import MaskSequence, Video
from stages.core.tables import Counts, Format
from stages.datasets.checks import warn_of_counts
from stages.datasets.expression_index import (
    Entry,
    IndexReader,
    annotation_ids,
    count_expressions,
    expressions_of,
    load_videos,
    names_something,
)
from stages.datasets.mask_dict import MaskDict
from stages.datasets.split import SplitDefaults

INDEX_NAMES = ("meta_expressions.json", "meta_expressions_v2.json")  # the second is the hub's name for version 2
MASKS_NAME = "mask_dict.json"
# Split → (videos, expressions) of versions 1 and 2 as published.
PUBLISHED: Counts = {
    "train": ((1662, 23051), (1662, 27502)),
    "valid_u": ((50, 793), (50, 907)),
    "valid": ((140, 2236), (140, 2523)),
    "test": ((154, 2490),),
}


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> "MevisSplit":
    """Reads the index of <root>/<split>.

    Args:
        limit: only the first videos of the index; None = all.
        published: it is the published set, whose counts are known: counts that differ give a warning.

    Raises:
        ValueError: the index is missing, is not JSON, lacks its keys, or holds an id that cannot be a path.
    """
    folder = root / split
    index = _find(folder, *INDEX_NAMES)
    if index is None:
        raise ValueError(
            f"{folder / INDEX_NAMES[0]}: does not exist (nor in JPEGImages): put the index of split {split!r} there"
        )
    masks = _find(folder, MASKS_NAME)
    raw = load_videos(index)
    warn_of_counts(index, len(raw), count_expressions(raw), PUBLISHED.get(split, ()) if published else ())
    if masks is None:
        _check_nothing_refers(index, raw)
    referred = _unknown if masks is None else annotation_ids
    reader = IndexReader(index, folder / "JPEGImages", referred, _kind, statements=True)
    videos, left_out = reader.videos(raw)
    return MevisSplit(split, videos[:limit], None if masks is None else MaskDict(masks), left_out)


class MevisSplit(SplitDefaults):
    """One split of a data set in MeViS layout (see `stages.core.records.Split`)."""

    protocol = "mevis"

    def __init__(self, name: str, videos: list[Video], masks: MaskDict | None, left_out: Sequence[str]) -> None:
        super().__init__(name, videos, has_truth=masks is not None, left_out=left_out)
        self._masks = masks

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Annotation id → one RLE (or None) per frame, for what the video's expressions refer to.

        Raises:
            ValueError: mask_dict.json cannot be read, lacks an annotation, or holds one that does not fit
                the video; the message names file, video and expression.
        """
        return {} if self._masks is None else self._masks.of(video)


def _find(folder: Path, *names: str) -> Path | None:
    """The first file of these names beside JPEGImages, or else inside it."""
    places = [place / name for name in names for place in (folder, folder / "JPEGImages")]
    return next((path for path in places if path.exists()), None)


def _check_nothing_refers(index: Path, raw: Mapping[str, Any]) -> None:
    """Without mask_dict.json an index that refers to annotations has lost its ground truth."""
    for video, entry in raw.items():
        for name, expression in expressions_of(entry).items():
            if isinstance(expression, dict) and names_something(expression.get("anno_id")):
                raise ValueError(
                    f"{index}: video {video!r}, expression {name!r} refers to annotations, but there is no "
                    f"{MASKS_NAME}: put it beside the index (or take anno_id out of a split without ground truth)"
                )


def _unknown(entry: Entry) -> None:
    annotation_ids(entry)  # a malformed list is a defect here too


def _kind(name: str, entry: Entry) -> str:
    """What kind of sentence it is: the embedded data set says so, the published ones do not."""
    kind = entry.get("kind", "")
    return kind if isinstance(kind, str) else ""


FORMAT = Format(
    name="mevis",
    open_split=open_split,
    index_files=("{split}/*.json", "{split}/JPEGImages/*.json"),
    counts=PUBLISHED,
    split_folders=True,
)
