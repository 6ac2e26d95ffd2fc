"""Reader of the MeViS layout, versions 1 and 2 (Ding et al., ICCV 2023; MeViSv2, 2025).

    <root>/<split>/JPEGImages/<video>/00000.jpg …
    <root>/<split>/meta_expressions.json     the index: videos, their frames, their expressions
    <root>/<split>/mask_dict.json            annotation id → one RLE or null a frame; only with ground truth

Both JSON files may also lie inside JPEGImages, as one public README nests them. What is wrong with the
index as a whole raises; what is wrong with one video becomes its `defect`, so that the others go on.
Masks are read on first use: the published file has hundreds of megabytes, and half of the stages need none.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.core.records import Expression, MaskSequence, Rle, Video, check_id, clean_caption
from stages.datasets.index_file import load_index

log = logging.getLogger(__name__)

INDEX_NAMES = ("meta_expressions.json", "meta_expressions_v2.json")  # the second is the hub's name for version 2
MASKS_NAME = "mask_dict.json"
# Split → (videos, expressions) of versions 1 and 2 as published.
PUBLISHED: Mapping[str, tuple[tuple[int, int], ...]] = {
    "train": ((1662, 23051), (1662, 27502)),
    "valid_u": ((50, 793), (50, 907)),
    "valid": ((140, 2236), (140, 2523)),
    "test": ((154, 2490),),
}


def open_split(
    root: Path, split: str, limit: int | None, counts: Mapping[str, tuple[tuple[int, int], ...]] | None = None
) -> "MevisSplit":
    """Reads the index of <root>/<split>.

    Args:
        limit: only the first videos of the index; None = all.
        counts: split → (videos, expressions) as published; another count is warned of.

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
    raw = load_index(index).get("videos")
    if not isinstance(raw, dict):
        raise ValueError(f"{index}: no mapping of videos under the key 'videos'; is this a MeViS index?")
    _warn_of_counts(index, raw, (counts or {}).get(split, ()))
    reader = _IndexReader(index, folder / "JPEGImages", has_truth=masks is not None)
    if masks is None:
        _check_nothing_refers(index, raw)
    videos = [reader.video(name, entry) for name, entry in raw.items()]
    return MevisSplit(split, index, masks, masks is not None, videos[:limit])


@dataclass
class MevisSplit:
    """One split of a data set in MeViS layout (see `stages.core.records.Split`)."""

    name: str
    index: Path
    masks_file: Path | None
    has_truth: bool
    _videos: list[Video] = field(repr=False)

    def videos(self) -> list[Video]:
        """All videos, in the order of the index."""
        return list(self._videos)

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Annotation id → one RLE (or None) a frame, for what the video's expressions refer to.

        Raises:
            ValueError: mask_dict.json cannot be read, lacks an annotation, or holds one that does not fit
                the video; the message names file, video and expression.
        """
        if self.masks_file is None:
            return {}
        found: dict[str, MaskSequence] = {}
        size: tuple[int, int] | None = None
        for expression in video.expressions:
            for key in expression.annotations or ():
                if key not in found:
                    where = f"{self.masks_file}: annotation {key} (video {video.id!r}, expression {expression.id!r})"
                    found[key] = _masks(self._mask_dict.get(key), len(video.frames), size, where)
                    size = next((rle["size"] for rle in found[key] if rle is not None), size)
        return found

    @cached_property
    def _mask_dict(self) -> dict[str, Any]:
        assert self.masks_file is not None
        return load_index(self.masks_file)


def _find(folder: Path, *names: str) -> Path | None:
    """The first file of these names beside JPEGImages, or else inside it."""
    places = [place / name for name in names for place in (folder, folder / "JPEGImages")]
    return next((path for path in places if path.is_file()), None)


def _check_nothing_refers(index: Path, raw: Mapping[str, Any]) -> None:
    """Without mask_dict.json an index that refers to annotations has lost its ground truth."""
    for video, entry in raw.items():
        for name, expression in (_member(entry, "expressions", dict) or {}).items():
            if isinstance(expression, dict) and expression.get("anno_id"):
                raise ValueError(
                    f"{index}: video {video!r}, expression {name!r} refers to annotations, but there is no "
                    f"{MASKS_NAME}: put it beside the index (or take anno_id out of a split without ground truth)"
                )


def _warn_of_counts(index: Path, raw: Mapping[str, Any], expected: tuple[tuple[int, int], ...]) -> None:
    found = (len(raw), sum(len(_member(entry, "expressions", dict) or {}) for entry in raw.values()))
    if expected and found not in expected:
        published = " or ".join("{} videos with {} expressions".format(*pair) for pair in expected)
        log.warning("%s: holds %d videos with %d expressions; published: %s", index, *found, published)


@dataclass(frozen=True)
class _IndexReader:
    """Turns entries of the index into records."""

    index: Path
    images: Path
    has_truth: bool

    def video(self, name: str, entry: Any) -> Video:
        """One video; what is wrong with it is its `defect`. Raises where an id cannot be a path."""
        self._check_id(name, "video id", f"{self.index}")
        where = f"{self.index}: video {name!r}"
        frames, expressions = _member(entry, "frames", list), _member(entry, "expressions", dict)
        defects = []
        if frames is None or expressions is None:
            defects.append(f"{where}: needs a list 'frames' and a mapping 'expressions'; mend the index")
        names = self._frames(frames or [], where)
        if frames is not None:
            defects.append(_frames_defect(names, where))
        found, wrong = self._expressions(expressions or {}, where)
        return Video(
            id=name,
            frames=tuple(dict.fromkeys(names)),
            location=self.images / name,
            expressions=tuple(found),
            cost=len(names),
            defect="; ".join(filter(None, [*defects, *wrong])),
        )

    def _frames(self, frames: list[Any], where: str) -> list[str]:
        names = [str(frame) for frame in frames]
        for name in names:
            self._check_id(name, "frame name", where)
        return names

    def _expressions(self, entries: Mapping[str, Any], where: str) -> tuple[list[Expression], list[str]]:
        """The sound expressions, and what is wrong with the others."""
        found, defects = [], []
        for name, entry in entries.items():
            self._check_id(name, "expression id", where, flat=True)
            here = f"{where}, expression {name!r}"
            try:
                found.append(self._expression(name, entry))
            except ValueError as error:
                defects.append(f"{here}: {error}")
        return found, defects

    def _expression(self, name: str, entry: Any) -> Expression:
        raw = _member(entry, "exp", str)
        if raw is None or not raw.strip():
            raise ValueError("has no caption; give 'exp' a text or delete the expression")
        return Expression(name, clean_caption(raw), self._annotations(entry), raw)

    def _annotations(self, entry: Mapping[str, Any]) -> tuple[str, ...] | None:
        ids = entry.get("anno_id") or []
        if not isinstance(ids, list) or not all(isinstance(i, (int, str)) for i in ids):
            raise ValueError(f"anno_id is {ids!r}; it must be a list of annotation ids")
        if not self.has_truth:
            return None
        if not ids and entry.get("obj_id"):
            raise ValueError(f"has obj_id {entry['obj_id']!r} but no anno_id; restore the index")
        return tuple(dict.fromkeys(map(str, ids)))

    def _check_id(self, identifier: str, what: str, where: str, *, flat: bool = False) -> None:
        try:
            check_id(identifier, what)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if flat and "/" in identifier:
            raise ValueError(f"{where}: {what} {identifier!r} holds a '/'; it names one folder of the submission")


def _member(entry: Any, key: str, kind: type) -> Any:
    """entry[key] where it is of the kind, else None."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, kind) else None


def _frames_defect(names: list[str], where: str) -> str:
    if not names:
        return f"{where}: lists no frames; mend the index"
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        return f"{where}: frames {', '.join(repeated[:5])} are listed more than once; mend the index"
    order: list[Any] = [int(n) for n in names] if all(n.isdecimal() for n in names) else names
    late = next((n for n, a, b in zip(names[1:], order, order[1:]) if a > b), None)
    return f"{where}: frame {late} is out of order; sort the frames of the index" if late else ""


def _masks(raw: Any, n_frames: int, size: tuple[int, int] | None, where: str) -> list[Rle | None]:
    """One annotation of mask_dict.json as core RLEs, all of one size."""
    if not isinstance(raw, list):
        raise ValueError(f"{where}: {'is missing' if raw is None else 'is no list of masks'}; restore the file")
    if len(raw) != n_frames:
        raise ValueError(f"{where}: holds {len(raw)} masks for {n_frames} frames; restore the file or the index")
    masks: list[Rle | None] = []
    for frame, mask in enumerate(raw):
        rle = None if mask is None else _rle(mask, f"{where}, mask {frame}")
        if rle is not None and size is not None and rle["size"] != size:
            raise ValueError(f"{where}, mask {frame}: is of size {rle['size']}, others of the video are {size}")
        size = rle["size"] if rle is not None else size
        masks.append(rle)
    return masks


def _rle(raw: Any, where: str) -> Rle:
    try:
        (height, width), counts = raw["size"], raw["counts"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{where}: is not {{'size': [height, width], 'counts': text}}; restore the file") from error
    if not (type(height) is type(width) is int and min(height, width) > 0 and isinstance(counts, str)):
        raise ValueError(f"{where}: needs two positive integers as size and text as counts; restore the file")
    return {"size": (height, width), "counts": counts}
