"""Reader of a folder of one's own videos: video files and frame folders beside one expressions.json.

    root/expressions.json    {"dog": ["the dog", "the woman"], "street/cars": {"near": "the white car"}}
    root/dog.mp4             a video file: any that stages.core.media.video reads
    root/street/cars/*.jpg   a frame folder: .jpg .png .tif .webp .bmp, in natural order of their names

A name may give the file's extension or leave it out. The sentences of a list get the ids "0", "1", ….
What is wrong with one video becomes its `defect`. A sentence or a name that cannot be used is left out alone, and is
in the split's `left_out`. What is wrong with the index as a whole is refused.
"""

import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from stages.core.records import MAX_NAME, Expression, Video, check_id, clean_caption
from stages.core.spelling import nfc
from stages.core.tables import Format
from stages.datasets.folder_listing import Tree, alike, list_frames, other_pictures, stem_of
from stages.datasets.index_file import load_index
from stages.datasets.split import SplitDefaults

INDEX = "expressions.json"
FRAME_COST = 100_000  # bytes: a frame in a folder weighs about what it does in a video file of high quality

log = logging.getLogger(__name__)


class FolderSplit(SplitDefaults):
    """One's own videos (see `stages.core.records.Split`): frames are as a player shows them."""

    as_shown = True


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> FolderSplit:
    """Reads the index and looks its videos up.

    Args:
        limit: only the first videos of the index.
        published: it is the published set, whose counts are known: counts that differ give a warning.

    Raises:
        ValueError: the root or the index is missing or broken, gives a key twice, or names no video.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: the folder of videos does not exist; create it or set the data set's root")
    index = root / INDEX
    entries = load_index(index)
    if not entries:
        raise ValueError(f'{index}: names no video; write one, as {{"clip": ["the dog"]}} for clip.mp4')
    names, left_out = _sound_names(entries, index)
    tree = Tree(root)
    videos = []
    for identifier, name, place in _places(names, tree, index):
        video, wrong = _read_video(identifier, entries[name], place, f"{index}: video {name!r}")
        videos.append(video)
        left_out += wrong
    _warn_of_unlisted(tree, videos, index)
    return FolderSplit(split, videos[:limit], left_out=left_out)


Place = tuple[Path, str]  # where a video is stored, and what is wrong with that


def _sound_names(entries: Mapping[str, Any], index: Path) -> tuple[list[str], list[str]]:
    """The names that can be paths, and what is wrong with the others; raises ValueError where none can."""
    names, wrong = [], []
    for name in entries:
        try:
            check_id(stem_of(name), "video id")
            names.append(name)
        except ValueError as error:
            wrong.append(f"{index}: {error}")
    if entries and not names:
        raise ValueError(wrong[0])
    return names, wrong


def _places(names: list[str], tree: Tree, index: Path) -> list[tuple[str, str, Place]]:
    """(id, name in the index, place) of every video, in the order of the index.

    The id is the name without the extension. Where two entries name two files that differ in that alone, it stays.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(nfc(stem_of(name)), []).append(name)
    places = []
    for identifier, group in groups.items():
        full = [tree.locate(name)[0] for name in group if stem_of(name) != name]
        located = {name: tree.locate(name, full if stem_of(name) == name and len(group) > 1 else ()) for name in group}
        if len(group) == 1:
            places.append((identifier, group[0], located[group[0]]))
        elif _are_apart(located):
            places += [(nfc(name), name, place) for name, place in located.items()]
        else:
            several = " and ".join(map(repr, group))
            defect = f"{index}: {several} name one video; join their expressions under one name"
            places.append((identifier, group[0], (located[group[0]][0], defect)))
    order = {name: number for number, name in enumerate(names)}
    return sorted(places, key=lambda place: order[place[1]])


def _are_apart(located: Mapping[str, Place]) -> bool:
    """Whether names of one stem are sound, and of as many files, and can be told apart by themselves."""
    sound = not any(defect for _, defect in located.values())
    n_files, n_names = len({path for path, _ in located.values()}), len({nfc(name) for name in located})
    short = all(len(part.encode()) <= MAX_NAME for name in located for part in PurePosixPath(nfc(name)).parts)
    return sound and short and n_files == n_names == len(located)


def _read_video(identifier: str, entry: Any, place: Place, where: str) -> tuple[Video, list[str]]:
    """A video with the sentences that can be used, and what is wrong with the others."""
    location, defect = place
    expressions, wrong = _read_expressions(entry, where)
    defects = [defect] if expressions else [defect, *(wrong or [f"{where} has no expressions"])]
    frames: tuple[str, ...] = ()
    cost = 0
    if location.is_dir():
        frames, defect = list_frames(location)
        defects.append(defect)
        cost = FRAME_COST * len(frames)
        if frames and (others := other_pictures(location)):
            log.warning("%s: %d pictures are of a kind that is not read (%s)", location, len(others), others[0])
        if twins := alike(frames):
            log.warning("%s: frames %r and %r have one number: their order means nothing", location, *twins)
    elif location.exists():
        cost = location.stat().st_size
    video = Video(identifier, frames, location, tuple(expressions), cost, "; ".join(filter(None, defects)))
    return video, wrong if expressions else []


def _read_expressions(value: Any, where: str) -> tuple[list[Expression], list[str]]:
    """The sound expressions of an entry, and what is wrong with the others."""
    if isinstance(value, str):
        return [], [f'{where} has a sentence where a list is needed; write ["{value[:60]}"]']
    if isinstance(value, list):
        value = {str(number): text for number, text in enumerate(value)}
    if not isinstance(value, dict) or not value:
        return [], [f"{where} has no expressions; give a list of sentences, or an object of id and sentence"]
    expressions, wrong = [], []
    for identifier, text in value.items():
        try:
            expressions.append(_expression(identifier, text))
        except ValueError as error:
            wrong.append(f"{where}: {error}")
    return expressions, wrong


def _expression(identifier: str, text: Any) -> Expression:
    if not isinstance(text, str):
        raise ValueError(f"expression {identifier!r} is not a sentence but {text!r}; write one or delete it")
    if not text.strip():
        raise ValueError(f"expression {identifier!r} is empty; write a sentence or delete it")
    if not any(letter.isalnum() for letter in text):
        raise ValueError(f"expression {identifier!r} has no word ({text!r}); write a sentence or delete it")
    return Expression(identifier, clean_caption(text), None, " ".join(text.split()))


def _warn_of_unlisted(tree: Tree, videos: list[Video], index: Path) -> None:
    unlisted = tree.unlisted({video.location for video in videos})
    if unlisted:
        others = f" and {len(unlisted) - 1} more have" if unlisted[1:] else " has"
        log.warning("%s%s no entry in %s: left out", unlisted[0], others, index)


FORMAT = Format(
    name="folder",
    open_split=open_split,
    index_files=(INDEX,),
)
