"""Reader of ReVOS (Yan et al., VISA, ECCV 2024).

<root>/JPEGImages/<video>/00000.jpg …      all splits; ids hold "/", as UVO/all/2E4T5NCywcE
<root>/meta_expressions_<split>_.json      the index (mind the underscore); type_id says what a sentence asks for
<root>/mask_dict.json                      annotation id → one RLE or null per frame
<root>/mask_dict_foreground.json           video → {"masks_rle": one RLE per frame}: everything annotated in it
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.core.records import MaskSequence, Video
from stages.core.spelling import stored_key
from stages.core.tables import Counts, Format
from stages.datasets.checks import check_frame_size, warn_of_counts
from stages.datasets.expression_index import (
    Entry,
    IndexReader,
    annotation_ids,
    count_expressions,
    load_videos,
    member,
)
from stages.datasets.index_file import load_index
from stages.datasets.mask_dict import MaskDict, read_masks
from stages.datasets.split import SplitDefaults

MASKS_NAME = "mask_dict.json"
FOREGROUND_NAME = "mask_dict_foreground.json"
GROUPS = ("referring", "reasoning", "hallucination")  # by type_id; the last is not scored
# The authors publish the sum of the splits alone: 1,042 videos with 35,074 expressions.
PUBLISHED: Counts = {}
PUBLISHED_TOTAL = (1042, 35074)

log = logging.getLogger(__name__)


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> "RevosSplit":
    """Reads the index of a split.

    Args:
        limit: only the first videos of the index; None = all.
        published: it is the published set, whose counts are known: counts that differ give a warning.

    Raises:
        ValueError: the index or mask_dict.json is missing, the index is not JSON, lacks its keys, or holds an
            id that cannot be a path.
    """
    index = _index_path(root, split)
    raw = load_videos(index)
    masks = root / MASKS_NAME
    if not masks.is_file():
        raise ValueError(f"{masks}: does not exist; both splits of ReVOS have ground truth: put it there")
    if published:
        _warn_of_total(root, split, raw)
    reader = IndexReader(index, root / "JPEGImages", annotation_ids, _group)
    videos, left_out = reader.videos(raw)
    return RevosSplit(split, videos[:limit], MaskDict(masks), root / FOREGROUND_NAME, left_out)


class RevosSplit(SplitDefaults):
    """One split of ReVOS."""

    protocol = "revos"

    def __init__(
        self, name: str, videos: list[Video], masks: MaskDict, foreground: Path, left_out: Sequence[str]
    ) -> None:
        super().__init__(name, videos, has_truth=True, left_out=left_out)
        self._masks, self._foreground_file = masks, foreground

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Annotation id → one RLE (or None) per frame, for what the video's expressions refer to.

        Raises:
            ValueError: mask_dict.json cannot be read, lacks an annotation, or holds one that does not fit
                the video; the message names file, video and expression.
        """
        return self._masks.of(video)

    def foreground(self, video: Video) -> MaskSequence | None:
        """Everything annotated in each frame; None, with one warning, where its file is missing.

        Raises:
            ValueError: the file cannot be read, lacks the video, or does not fit it.
        """
        if self._foreground is None:
            return None
        where = f"{self._foreground_file}: video {video.id!r}"
        masks = read_masks(
            member(stored_key(self._foreground, video.id), "masks_rle", list), len(video.frames), None, where
        )
        check_frame_size(video, next((rle["size"] for rle in masks if rle is not None), None), where)
        return masks

    @cached_property
    def _foreground(self) -> Mapping[str, Any] | None:
        if self._foreground_file.is_file():
            return load_index(self._foreground_file)
        log.warning("%s: does not exist, so that robustness (R) cannot be scored; put it there", self._foreground_file)
        return None


def _index_path(root: Path, split: str) -> Path:
    """The published name, or the one without the last underscore."""
    names = [root / f"meta_expressions_{split}_.json", root / f"meta_expressions_{split}.json"]
    return next((path for path in names if path.is_file()), names[0])


def _group(name: str, entry: Entry) -> str:
    kind = entry.get("type_id")
    if type(kind) is not int or not 0 <= kind < len(GROUPS):
        raise ValueError(f"type_id is {kind!r}; it must be 0 (referring), 1 (reasoning) or 2 (hallucination)")
    return GROUPS[kind]


def _warn_of_total(root: Path, split: str, raw: Mapping[str, Any]) -> None:
    """Checks the sum of both splits, which alone is published, where the other split is there too."""
    other = _index_path(root, {"train": "valid", "valid": "train"}.get(split, split))
    if other == _index_path(root, split) or not other.is_file():
        return
    try:
        rest = load_videos(other)
    except ValueError as error:
        log.warning("%s", error)  # a broken train index is not a reason to refuse valid
        return
    warn_of_counts(root, len(raw) + len(rest), count_expressions(raw) + count_expressions(rest), [PUBLISHED_TOTAL])


FORMAT = Format(
    name="revos",
    open_split=open_split,
    index_files=("*.json",),
)
