"""What is in a folder of one's own videos: files and frame folders by name, frames in order.

Names are compared in Unicode's composed form (NFC): a Mac stores "é" as two characters, an index has one.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path, PurePosixPath

from stages.core.spelling import is_unicode, nfc

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts"),
    *(".mpg", ".mpeg", ".vob", ".wmv", ".asf", ".flv", ".gif"),
)
ANIMATION_SUFFIXES = (".apng", ".webp", ".png")  # often single pictures: a video or folder of the name takes precedence
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
# Pictures that are not read: a folder that holds some gives a warning.
OTHER_PICTURES = (
    *(".avif", ".cr2", ".cr3", ".dng", ".dpx", ".exr", ".gif", ".hdr", ".heic", ".heif", ".jfif", ".jp2", ".jxl"),
    *(".nef", ".npy", ".pgm", ".ppm", ".raw", ".svg", ".tga"),
)
KINDS = f"a video ({' '.join(VIDEO_SUFFIXES)}, animated {' '.join(ANIMATION_SUFFIXES)})"
FRAME_KINDS = " ".join(FRAME_SUFFIXES)


def stem_of(name: str) -> str:
    """A video's name without the extension of a video file."""
    path = PurePosixPath(name)
    known = path.suffix.lower() in (*VIDEO_SUFFIXES, *ANIMATION_SUFFIXES)
    return str(path.with_suffix("")) if known and path.stem else name


class Folder:
    """One folder and what is directly in it, except what is hidden; read once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def entries(self) -> list[Path]:
        if not self.path.is_dir():
            return []
        return sorted(entry for entry in self.path.iterdir() if not entry.name.startswith("."))

    @cached_property
    def by_name(self) -> dict[str, list[Path]]:
        """Entries by what an index may call them: their names, and those of files without the extension."""
        named: dict[str, list[Path]] = {}
        for entry in self.entries:
            for name in {nfc(entry.name), nfc(entry.stem)} if not entry.is_dir() else {nfc(entry.name)}:
                named.setdefault(name, []).append(entry)
        return named

    def named(self, name: str) -> list[Path]:
        """What goes by a name; where several differ in their Unicode form alone, the one that is spelt alike."""
        entries = self.by_name.get(nfc(name), [])
        alike = {nfc(entry.name): entry for entry in entries}
        alike |= {nfc(entry.name): entry for entry in entries if entry.name == name or entry.stem == name}
        return list(alike.values())


class Tree:
    """The folder of videos, looked up by the names of an index."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[Path, Folder] = {}

    def folder(self, path: Path) -> Folder:
        return self._folders.setdefault(path, Folder(path))

    def locate(self, name: str, claimed: Collection[Path] = ()) -> tuple[Path, str]:
        """Where the video `name` is stored, and what is wrong with that ("" where nothing is).

        Args:
            claimed: files that other entries of the index name by their extension.
        """
        *parents, last = PurePosixPath(name).parts
        place = self.root
        for parent in parents:
            place = next((p for p in self.folder(place).named(parent) if p.is_dir()), place / parent)
        entries = self.folder(place).named(last)
        videos = [entry for entry in _videos(entries, last) if entry not in claimed]
        if len(videos) == 1:
            return videos[0], ""
        if videos:
            return videos[0], _ambiguous(place / last, videos)
        return place / last, self._absent(place, last, entries)

    def _absent(self, place: Path, last: str, entries: list[Path]) -> str:
        path = place / last
        if others := [entry for entry in entries if not entry.is_dir()]:
            suffix = others[0].suffix or "without an extension"
            if suffix.lower() in (*FRAME_SUFFIXES, *OTHER_PICTURES):
                return f"{others[0]}: a single picture ({suffix}), not a video; put it into a folder of frames"
            return f"{others[0]}: present, but of a kind that is not read ({suffix}); convert it to {KINDS}"
        known = [entry.name for entry in self.folder(place).entries if entry.is_dir() or is_video(entry)]
        stems = {stem_of(name): name for name in known}
        near = [stems[stem] for stem in get_close_matches(stem_of(last), stems, 1, 0.6)]
        hint = f"did you mean {near[0]!r}? If not, put it there" if near else "put it there"
        return f"{path}: no such video or frame folder; {hint}, or delete its entry from the index"

    def unlisted(self, used: Collection[Path]) -> list[Path]:
        """Videos and frame folders, beside those that are used, that no entry names."""
        folders = dict.fromkeys([self.root, *(path.parent for path in used)])
        entries = [entry for folder in folders for entry in self.folder(folder).entries if entry not in used]
        parents = {parent for path in used for parent in path.parents}
        return [e for e in entries if e not in parents and (is_video(e) or (e.is_dir() and list_frames(e)[0]))]


def is_video(path: Path) -> bool:
    """Whether a file's name is one of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()


def _videos(entries: list[Path], name: str) -> list[Path]:
    """Of what goes by a name, what it can mean: the file itself, or any folder or video that it is the stem of."""
    exact = [entry for entry in entries if nfc(entry.name) == nfc(name)]
    files = [entry for entry in exact if not entry.is_dir()]
    if stem_of(name) != name:
        return exact
    videos = [entry for entry in entries if is_video(entry)] + [entry for entry in exact if entry.is_dir()]
    animations = [entry for entry in entries if entry.suffix.lower() in ANIMATION_SUFFIXES]
    return sorted(videos) or animations or [file for file in files if not file.suffix]


def _ambiguous(path: Path, videos: list[Path]) -> str:
    names = " and ".join(video.name for video in videos)
    files = [video.name for video in videos if not video.is_dir()]
    return f"{path}: {names} share this name; rename one, or give the extension in the index ({files[0]!r})"


# ---------------------------------------------------------------- frames


def list_frames(folder: Path) -> tuple[tuple[str, ...], str]:
    """The names of a folder's frames without extension, in natural order, and what is wrong with them."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in FRAME_SUFFIXES and not p.name.startswith(".")]
    stems = in_order(path.stem for path in files)
    if not stems:
        others = Counter(other_pictures(folder))
        there = "; it has " + ", ".join(f"{n} {suffix}" for suffix, n in others.items()) if others else ""
        return (), f"{folder}: holds no frame of a kind that is read ({FRAME_KINDS}){there}; put frames there"
    broken = [stem for stem in stems if not is_unicode(stem)]
    if broken:
        return tuple(
            sorted({*stems} - {*broken})
        ), f"{folder}: the name of frame {broken[0]!r} is not in UTF-8; rename it"
    twice = [stem for stem, n in Counter(stems).items() if n > 1]
    if twice:
        return tuple(dict.fromkeys(stems)), f"{folder}: frame {twice[0]!r} is there twice; keep one of its files"
    return tuple(stems), ""


def alike(stems: Iterable[str]) -> tuple[str, str] | None:
    """Two frames whose numbers are the same but for zeros at the front, so that their order means nothing."""
    seen: dict[str, str] = {}
    for stem in stems:
        plain = re.sub(r"0+(?=[0-9])", "", "".join(f"/{p}" if p.isdigit() else p for p in re.split(r"([0-9]+)", stem)))
        if plain in seen:
            return seen[plain], stem
        seen[plain] = stem
    return None


def other_pictures(folder: Path) -> list[str]:
    """The extensions, one per file, of pictures in a frame folder that are not read."""
    names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    suffixes = (PurePosixPath(name).suffix.lower() for name in sorted(names))
    return [suffix for suffix in suffixes if suffix in OTHER_PICTURES]


def in_order(stems: Iterable[str]) -> list[str]:
    """Names in natural order: "2" before "10". Times, as "t0.25" and "t0.5" and "t10.0", go by their value."""
    stems = list(stems)
    key = _time_key if _are_times(stems) else _natural
    return sorted(stems, key=key)


def _natural(stem: str) -> tuple[list[str | int], str]:
    """Text and numbers alternate, so that like is compared with like."""
    parts = re.split(r"([0-9]+)", stem)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], stem


TIME = re.compile(r"(.*?)([0-9]+)\.([0-9]+)", re.DOTALL)


def _are_times(stems: list[str]) -> bool:
    """Whether names end in decimals of several lengths, written as programs write them: without zeros at the end.

    A counter ("shot1.9", "shot1.10") has such a zero in its tenth name at the latest.
    """
    matches = [TIME.fullmatch(stem) for stem in stems]
    if not all(matches) or len({match[1] for match in matches if match}) != 1:
        return False
    decimals = [match[3] for match in matches if match]
    return len({len(each) for each in decimals}) > 1 and not any(len(d) > 1 and d.endswith("0") for d in decimals)


def _time_key(stem: str) -> tuple[float, str]:
    match = TIME.fullmatch(stem)
    assert match is not None
    return float(f"{match[2]}.{match[3]}"), stem
