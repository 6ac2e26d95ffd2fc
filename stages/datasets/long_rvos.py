"""Reader of Long-RVOS (Liang et al., 2025).

    <root>/<split>/JPEGImages/<video>/<frame>.jpg
    <root>/<split>/Annotations/<video>/<obj_id>/<frame>.png   255 = object; a missing file = absent in that frame
    <root>/<split>/meta_expressions.json                      the index; "type" says what a sentence describes

Objects have files of their own, so their masks may overlap. The authors' code sorts the frames of the index.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.media import masks
from stages.core.records import MaskSequence, Rle, Video
from stages.core.spelling import nfc, stored_path
from stages.core.tables import Counts, Format
from stages.datasets.checks import check_frame_size, warn_of_counts
from stages.datasets.expression_index import Entry, IndexReader, count_expressions, load_videos
from stages.datasets.palette import read_labels
from stages.datasets.ref_youtube_vos import annotations_folder, no_truth, one_object
from stages.datasets.split import SplitDefaults

GROUPS = ("static", "dynamic", "hybrid")
OBJECT = 255
# Split → (videos, expressions) as published.
PUBLISHED: Counts = {"train": ((1855, None),), "valid": ((112, None),), "test": ((226, None),)}


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> "LongRvosSplit":
    """Reads the index of <root>/<split>.

    Args:
        limit: only the first videos of the index; None = all.
        published: it is the published set, whose counts are known: counts that differ give a warning.

    Raises:
        ValueError: the index is missing, is not JSON, lacks its keys, or holds an id that cannot be a path.
    """
    folder = root / split
    index = folder / "meta_expressions.json"
    raw = load_videos(index)
    warn_of_counts(index, len(raw), count_expressions(raw), PUBLISHED.get(split, ()) if published else ())
    annotations = _truth(folder, raw, index)
    referred = no_truth if annotations is None else one_object
    reader = IndexReader(index, folder / "JPEGImages", referred, _group, sort_frames=True)
    videos, left_out = reader.videos(raw)
    return LongRvosSplit(split, videos[:limit], annotations, left_out)


class LongRvosSplit(SplitDefaults):
    """One split of Long-RVOS.

    The masks of the last video that was asked for are kept: a stage reads them for fingerprints first, then for its work.

    Args:
        annotations: None = the split has no ground truth.
    """

    protocol = "long_rvos"

    def __init__(self, name: str, videos: list[Video], annotations: Path | None, left_out: Sequence[str]) -> None:
        super().__init__(name, videos, has_truth=annotations is not None, left_out=left_out)
        self._folder = annotations
        self._read = lru_cache(maxsize=1)(self._read_video)

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Object → one RLE (or None) per frame, for what the video's expressions refer to.

        Raises:
            ValueError: an object's folder is missing, or a mask in it is damaged, of another size than the
                others or the frames, or of other values; the message names file, video and expression.
        """
        return self._read(video) if self.has_truth else {}

    def sources(self, video: Video) -> Sequence[Path]:
        """A folder per object that is referred to."""
        if self._folder is None:
            return []
        folder = stored_path(self._folder, video.id)
        keys = dict.fromkeys(key for expression in video.expressions for key in expression.annotations or ())
        return [folder / key for key in keys]

    def _read_video(self, video: Video) -> Mapping[str, MaskSequence]:
        assert self._folder is not None
        referred: dict[str, MaskSequence] = {}
        size: tuple[int, int] | None = None
        for expression in video.expressions:
            where = f"video {video.id!r}, expression {expression.id!r}"
            for key in expression.annotations or ():
                if key not in referred:
                    folder = stored_path(self._folder, video.id) / key
                    referred[key] = _object_masks(folder, video, size, where)
                    size = next((rle["size"] for rle in referred[key] if rle is not None), size)
                    check_frame_size(video, size, f"{folder}: {where}")
        return referred


def _object_masks(folder: Path, video: Video, size: tuple[int, int] | None, where: str) -> list[Rle | None]:
    """One RLE per frame of an object, None where it has no file."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: {where}: the folder of the object's masks does not exist; restore it")
    present = {nfc(path.stem): path for path in folder.iterdir() if path.suffix == ".png"}
    if present and present.keys().isdisjoint(map(nfc, video.frames)):
        raise ValueError(f"{folder}: {where}: none of its masks is of a frame of the index; restore the folder")
    rles_T: list[Rle | None] = []
    for name in video.frames:
        rle = _read_mask(present[nfc(name)], where) if nfc(name) in present else None
        if rle is not None and size is not None and rle["size"] != size:
            raise ValueError(
                f"{folder / name}.png: {where}: is of size {rle['size']} (height, width), others of {size}; restore it"
            )
        size = rle["size"] if rle is not None else size
        rles_T.append(rle)
    return rles_T


def _read_mask(path: Path, where: str) -> Rle:
    try:
        mask_HW = read_labels(path)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if mask_HW.any() and not np.any(mask_HW == OBJECT):
        raise ValueError(f"{path}: {where}: holds {int(mask_HW.max())} but no {OBJECT}; masks are 0 and {OBJECT}")
    return masks.encode(mask_HW == OBJECT)


def _truth(folder: Path, raw: Mapping[str, Any], index: Path) -> Path | None:
    """The folder of masks; None for a split that is published without them (test, at first)."""
    return annotations_folder(folder, raw, index) if (folder / "Annotations").is_dir() else None


def _group(name: str, entry: Entry) -> str:
    kind = entry.get("type", "")
    if kind not in ("", *GROUPS):
        raise ValueError(f"type is {kind!r}; it must be one of {', '.join(GROUPS)}")
    return str(kind)


FORMAT = Format(
    name="long_rvos",
    open_split=open_split,
    index_files=("{split}/*.json",),
    counts=PUBLISHED,
    split_folders=True,
)
