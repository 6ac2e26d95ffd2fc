"""Reader of a folder of one's own videos: video files and frame folders beside one expressions.json.

    root/expressions.json    {"dog": ["the dog", "the woman"], "street/cars": {"near": "the white car"}}
    root/dog.mp4             a video file: mp4, mov, mkv, webm or gif
    root/street/cars/*.jpg   a frame folder: jpg or png, in natural order of their names

A name may give the file's extension or leave it out. The sentences of a list get the ids "0", "1", ….
What is wrong with one video becomes its `defect`; what is wrong with the index as a whole is refused.
"""

import logging
import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from stages.core.records import Expression, Video, check_id, clean_caption
from stages.core.tables import Format
from stages.datasets.index_file import load_index
from stages.datasets.split import SplitDefaults

INDEX = "expressions.json"
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".gif")
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
FRAME_COST = 100_000  # bytes: a frame in a folder weighs about what it does in a video file of high quality

Listing = Callable[[Path], dict[str, list[Path]]]

log = logging.getLogger(__name__)


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> SplitDefaults:
    """Reads the index and looks its videos up.

    Args:
        limit: only the first videos of the index.
        published: it is the published set, whose counts are known: others are warned of.

    Raises:
        ValueError: the root or the index is missing or broken, gives a key twice, or uses ids that
            cannot be paths.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: the folder of videos does not exist; create it or set the data set's root")
    index = root / INDEX
    entries = load_index(index)
    for name in entries:
        _checked(name, "video", index)
    listing = cache(_list_videos)  # each folder is listed once
    named: dict[str, list[str]] = {}
    for name in entries:
        named.setdefault(_stem(name), []).append(name)
    videos = [_read_video(root, names, entries, listing) for names in named.values()]
    _warn_of_unlisted(root, videos, listing)
    return SplitDefaults(split, videos[:limit])


def _list_videos(folder: Path) -> dict[str, list[Path]]:
    """The video files and subfolders that lie directly in a folder, by the video name they may go by."""
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.name.startswith(".") and (path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES):
            by_stem.setdefault(path.name if path.is_dir() else path.stem, []).append(path)
    return by_stem


def _read_video(root: Path, names: list[str], entries: Mapping[str, Any], listing: Listing) -> Video:
    """The video that `names` (one, or it is a defect) stand for."""
    name, index = names[0], root / INDEX
    expressions, defects = _read_expressions(entries[name], f"{index}: video {name!r}", index)
    location, defect = _locate(root, name, listing)
    defects.append(defect)
    if len(names) > 1:
        defects.append(
            f"{index}: {' and '.join(map(repr, names))} name one video; join their expressions under one name"
        )
    frames: tuple[str, ...] = ()
    cost = 0
    if location.is_dir():
        frames, defect = _list_frames(location)
        defects.append(defect)
        cost = FRAME_COST * len(frames)
    elif location.exists():
        cost = location.stat().st_size
    return Video(_stem(name), frames, location, tuple(expressions), cost, "; ".join(filter(None, defects)))


def _locate(root: Path, name: str, listing: Listing) -> tuple[Path, str]:
    """Where the video `name` lies, and what is wrong with that."""
    path = root / name
    found = listing(path.parent).get(Path(_stem(name)).name, [])
    if _stem(name) != name:  # the name gives an extension: that file and no other
        found = [other for other in found if other.name == path.name]
    if not found:
        kinds = ", ".join(VIDEO_SUFFIXES)
        return path, f"{path}: no such video ({kinds}) or frame folder; put it there or delete its entry from {INDEX}"
    if len(found) > 1:
        files = " and ".join(other.name for other in found)
        return found[0], f"{path}: {files} share this name; rename one, or give the extension in {INDEX}"
    return found[0], ""


def _list_frames(folder: Path) -> tuple[tuple[str, ...], str]:
    """The stems of a folder's images in natural order, and what is wrong with them."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in FRAME_SUFFIXES and not p.name.startswith(".")]
    stems = [path.stem for path in sorted(files, key=lambda path: _natural(path.stem))]
    if not stems:
        return (), f"{folder}: holds no .jpg or .png frame; put the frames there or delete the entry from {INDEX}"
    twice = sorted({stem for stem, following in pairwise(stems) if stem == following})
    if twice:
        return tuple(dict.fromkeys(stems)), f"{folder}: frame {twice[0]!r} is there twice; keep one of its files"
    return tuple(stems), ""


def _read_expressions(value: Any, where: str, index: Path) -> tuple[list[Expression], list[str]]:
    """The sound expressions of an entry, and what is wrong with the others."""
    if isinstance(value, list):
        value = {str(number): text for number, text in enumerate(value)}
    if not isinstance(value, dict) or not value:
        return [], [f"{where} has no expressions; give a list of sentences, or an object of id and sentence"]
    expressions, defects = [], []
    for identifier, text in value.items():
        _checked(identifier, "expression", index)
        if isinstance(text, str) and clean_caption(text):
            try:
                expressions.append(Expression(identifier, clean_caption(text), None, " ".join(text.split())))
            except ValueError as error:
                defects.append(f"{where}: {error}")
        else:
            found = "is empty" if isinstance(text, str) else f"is not a sentence but {text!r}"
            defects.append(f"{where}: expression {identifier!r} {found}; write one or delete it")
    return expressions, defects


def _checked(identifier: str, what: str, index: Path) -> None:
    try:
        check_id(identifier, f"{what} id")
    except ValueError as error:
        raise ValueError(f"{index}: {error}") from error
    if what == "expression" and "/" in identifier:
        raise ValueError(f"{index}: expression id {identifier!r} holds a '/'; ids of expressions are plain names")


def _warn_of_unlisted(root: Path, videos: list[Video], listing: Listing) -> None:
    used = {root / video.id for video in videos}
    for folder in dict.fromkeys([root, *(path.parent for path in used)]):
        for stem, paths in listing(folder).items():
            if folder / stem not in used and any(path.is_file() or _list_frames(path)[0] for path in paths):
                log.warning("%s: has no entry in %s and is left out", paths[0], root / INDEX)


def _stem(name: str) -> str:
    """The video's id: its name without a video file's extension."""
    path = Path(name)
    return str(path.with_suffix("")) if path.suffix.lower() in VIDEO_SUFFIXES and path.stem else name


def _natural(stem: str) -> tuple[list[str | int], str]:
    """Sorts "2" before "10": text and numbers alternate, so that like is compared with like."""
    parts = re.split(r"(\d+)", stem)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], stem


FORMAT = Format(
    name="folder",
    open_split=open_split,
    index_files=("*",),
)
