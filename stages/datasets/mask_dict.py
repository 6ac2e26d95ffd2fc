"""Masks in a JSON file, as MeViS and ReVOS ship them: annotation id → one RLE or null per frame.

The published files take hundreds of megabytes: they are read on first use, since half of the stages need no masks.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.core.media.masks import read_rle
from stages.core.records import MaskSequence, Rle, Video
from stages.core.spelling import stored_key
from stages.datasets.checks import check_frame_size
from stages.datasets.index_file import load_index


class MaskDict:
    """A mask_dict.json, read once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, video: Video) -> dict[str, MaskSequence]:
        """Annotation id → one RLE (or None) per frame, for what the video's expressions refer to.

        Raises:
            ValueError: the file cannot be read, lacks an annotation, or holds one that does not fit the
                video; the message names file, video and expression.
        """
        referred: dict[str, MaskSequence] = {}
        size: tuple[int, int] | None = None
        for expression in video.expressions:
            for key in expression.annotations or ():
                if key not in referred:
                    where = f"{self.path}: annotation {key} (video {video.id!r}, expression {expression.id!r})"
                    referred[key] = read_masks(stored_key(self.entries, key), len(video.frames), size, where)
                    size = next((rle["size"] for rle in referred[key] if rle is not None), size)
                    check_frame_size(video, size, where)
        return referred

    @cached_property
    def entries(self) -> Mapping[str, Any]:
        """The file's object, as it stands."""
        return load_index(self.path)


def read_masks(raw: Any, n_frames: int, size: tuple[int, int] | None, where: str) -> list[Rle | None]:
    """One annotation as core RLEs, all of one size (of `size`, where that is known).

    Raises:
        ValueError: starting with `where`.
    """
    if not isinstance(raw, list):
        raise ValueError(f"{where}: {'is missing' if raw is None else 'is not a list of masks'}; restore the file")
    if len(raw) != n_frames:
        raise ValueError(f"{where}: holds {len(raw)} masks for {n_frames} frames; restore the file or the index")
    masks: list[Rle | None] = []
    for frame, mask in enumerate(raw):
        rle = None if mask is None else _read_rle(mask, f"{where}, mask {frame}")
        if rle is not None and size is not None and rle["size"] != size:
            raise ValueError(f"{where}, mask {frame}: is of size {rle['size']}, others of the video are {size}")
        size = rle["size"] if rle is not None else size
        masks.append(rle)
    return masks


def _read_rle(raw: Any, where: str) -> Rle:
    try:
        return read_rle(raw)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
