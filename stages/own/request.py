"""What a person asks of videos of her own: which files, which sentences, which part; and how the workflow is told.

The data set `own` (stages/datasets/own.py) reads the request from <root>/request.json. The config that the workflow gets is
the project's, with the models of the preset, with what decides for these, and with how frames are taken.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.config.file import Config
from stages.core.config.loading import merge, nearest, parse_config, settings_of
from stages.core.config.sections import Settings
from stages.core.digests import digest
from stages.core.records import Expression, Video, caption_defect, check_id, clean_caption
from stages.core.spelling import shown
from stages.core.state.cache import atomic_path
from stages.core.state.graph import ERRORS, Layout
from stages.core.state.temporary import remove_leftovers
from stages.core.tables import FORMATS
from stages.datasets.folder_listing import VIDEO_SUFFIXES, is_video, list_frames, stem_of
from stages.datasets.own import EXPRESSION, INDEX
from stages.delivery.names import folders

DATASET, SPLIT = "own", "all"
ANSWERED = ".answered"  # beside the request: what of it was answered last
# Sections of the settings that say who decides, and by what.
DECIDING = ("selector", "tracks", "evidence", "rerank")
SHORT = 8  # hex digits that tell files of one name apart
TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)")


@dataclass(frozen=True)
class Part:
    """How frames are taken of every video.

    Attributes:
        fps, max_side: as in the config's section `frames`; None = as there.
        start, end: seconds after the first frame; None = the whole video.
    """

    fps: float | None
    max_side: int | None
    start: float | None
    end: float | None


@dataclass(frozen=True)
class Asked:
    """A video that is asked about.

    Attributes:
        id: of the video in the cache.
        path: the file, or the folder of frames.
        name: of the folder of its outputs.
        sentences: name in the cache → the sentence as it was typed.
    """

    id: str
    path: Path
    name: str
    sentences: Mapping[str, str]

    def record(self, sentence: str) -> Video:
        """The record of one of its sentences, as far as the files of decisions need it."""
        text = self.sentences[sentence]
        expression = Expression(EXPRESSION, clean_caption(text), None, text)
        return Video(f"{self.id}/{sentence}", (), self.path, (expression,), 0)


# ---------------------------------------------------------------- words


def divided(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The videos and the sentences among the words of the command line, videos first.

    The first word is a video. Others are as long as they name a video or a folder of them; one with a space that names no
    file is a sentence.

    Raises:
        ValueError: there is no sentence.
    """
    first, *rest = words
    n = next((n for n, word in enumerate(rest) if not _names_videos(word)), len(rest))
    if n == len(rest):
        raise ValueError(
            f'no sentence is given; write one in quotes: referee segment {first} "the dog that turns around"'
        )
    return [Path(first), *map(Path, rest[:n])], list(rest[n:])


def _names_videos(word: str) -> bool:
    path = Path(word)
    there = _is_there(path)
    if not word.strip() or (" " in word and not there):
        return False
    return path.suffix.lower() in VIDEO_SUFFIXES or (there and path.is_dir() and bool(videos_in(path)))


def _is_there(path: Path) -> bool:
    """Whether a path exists; Path.exists raises where a word is too long to be a name, as a sentence may be."""
    try:
        return path.exists()
    except OSError:
        return False


def seconds(text: str) -> float:
    """90, 90.5, 1:30 or 0:01:30 as seconds; raises ValueError where it is none of these."""
    match = TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"needs seconds or [hours:]minutes:seconds, as 12.5 or 1:30; got {text!r}")
    hours, minutes, rest = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest)


def check_part(part: Part) -> None:
    if part.end is not None and part.end <= (part.start or 0.0):
        raise ValueError(f"--start {part.start or 0:g} is not before --end {part.end:g}; nothing is between them")


def sentences_of(texts: Sequence[str]) -> dict[str, str]:
    """Name in the cache → sentence, each once; raises ValueError where one says nothing."""
    named: dict[str, str] = {}
    for number, text in enumerate(texts, 1):
        if defect := caption_defect(text):
            raise ValueError(f"sentence {number}: {text!r} {defect.partition(';')[0]}; write what to look for")
        said = " ".join(text.split())
        slug = re.sub(r"[^a-z0-9]+", "_", said.lower()).strip("_")[:40]
        named.setdefault(f"{slug or 'sentence'}-{digest(clean_caption(said))[:SHORT]}", said)
    return named


# ---------------------------------------------------------------- videos


def videos_in(folder: Path) -> list[Path]:
    """The videos in a folder, by name; the folder itself where it holds frames; none where it holds neither."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    videos = [entry for entry in entries if is_video(entry)]
    return videos or ([folder] if list_frames(folder)[0] else [])


def asked_of(paths: Sequence[Path], sentences: Mapping[str, str], part: Part, preset: str) -> list[Asked]:
    """Every video once, with all sentences.

    Raises:
        ValueError: a path does not exist, or a folder holds no video.
    """
    files: list[Path] = []
    for path in paths:
        if not _is_there(path):
            raise ValueError(f"{shown(path)}: {_absent(path)}")
        inside = videos_in(path) if path.is_dir() else [path]
        if not inside:
            raise ValueError(
                f"{shown(path)}: a folder without videos or frames; videos end in {' '.join(VIDEO_SUFFIXES)}"
            )
        files += inside
    files = list(dict.fromkeys(file.resolve() for file in files))
    stems = [stem_of(file.name) for file in files]
    # another part, or other models, are another video to the cache: neither makes the other's files stale
    facts = [part.fps, part.max_side, part.start, part.end, preset]
    digits = [digest([os.fsencode(file).decode(errors="backslashreplace"), *facts])[:SHORT] for file in files]
    asked = []
    for file, stem, own, name in zip(files, stems, digits, folders(stems, digits), strict=True):
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:60].strip("_-") or "video"
        asked.append(Asked(check_id(f"{plain}-{own}", "video"), file, name, sentences))
    return asked


def _absent(path: Path) -> str:
    with suppress(OSError):
        return f"a link to {path.readlink()}, which does not exist"
    folder = path.parent
    known = [entry.name for entry in folder.iterdir() if is_video(entry)] if folder.is_dir() else []
    return f"no such file or folder{nearest(path.name, known) if known else ''}"


# ---------------------------------------------------------------- what the workflow gets


def overlay(config: Config, preset: str, part: Part, user: Mapping[str, Any]) -> dict[str, Any]:
    """What the workflow's config says in other ways than config.yaml.

    Args:
        user: what the person's own config file says, which is kept.

    Raises:
        ValueError: there is no such preset.
    """
    if preset not in config.presets:
        raise ValueError(f"no preset {preset!r}{nearest(preset, config.presets)}")
    entry: dict[str, Any] = {"models": preset, "settings": {"frames": _frames(config, part), "run": {"n_pids": 1}}}
    if preset in config.segment.decided_as:
        other = config.segment.decided_as[preset]
        decided = _by_preset(config, preset) if other is None else settings_of(config, other)
        entry["settings"] |= decided.model_dump(mode="json", include=set(DECIDING))
        if other is not None:
            entry["selector"] = config.datasets[other].selector.model_dump(mode="json")
    return merge(user, {"datasets": {DATASET: entry}})


def _by_preset(config: Config, preset: str) -> Settings:
    """The settings of own videos as they would be if the data set said nothing."""
    raw = config.model_dump(mode="json")
    raw["datasets"][DATASET] |= {"models": preset, "settings": {}}
    return settings_of(parse_config(raw, f"segment.decided_as.{preset}"), DATASET)


def _frames(config: Config, part: Part) -> dict[str, Any]:
    own = settings_of(config, DATASET).frames
    return {"fps": part.fps or own.fps, "max_side": part.max_side or own.max_side}


def forget_markers(layout: Layout, root: Path, over: Mapping[str, Any]) -> None:
    """Removes the markers of an earlier run, unless that was of the same request and ended well.

    Markers are of the whole split, and their order in time says little once a job was killed between those of two requests:
    Snakemake would take what is marked for made. Without them each stage looks at its files, which say what is done.
    """
    path, facts = root / ANSWERED, _facts(root, over)
    if not path.is_file() or path.read_text(encoding="utf-8") != facts:
        path.unlink(missing_ok=True)
        for name in (
            "done",
            "shards",
            ERRORS,
        ):  # what failed before is tried again, and must not be passed over meanwhile
            shutil.rmtree(layout.root / name, ignore_errors=True)


def remember(root: Path, over: Mapping[str, Any]) -> None:
    """Says that a run of the request has ended well."""
    with atomic_path(root / ANSWERED) as temporary:
        temporary.write_text(_facts(root, over), encoding="utf-8")


def _facts(root: Path, over: Mapping[str, Any]) -> str:
    return digest([(root / INDEX).read_text(encoding="utf-8"), dict(over)])


def write_request(root: Path, videos: Sequence[Asked], part: Part) -> None:
    """Writes the index of the data set, unless it says the same already."""
    document = {
        "videos": {
            video.id: {
                "path": str(video.path),
                "start": part.start,
                "end": part.end,
                "sentences": dict(video.sentences),
            }
            for video in videos
        }
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    path = root / INDEX
    for file in (path, root / ANSWERED):
        remove_leftovers(file)
    assert FORMATS[DATASET].per_sentence
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
