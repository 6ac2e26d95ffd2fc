"""Reader of the videos of `referee segment`: files and frame folders wherever they are, a record per sentence.

    <root>/request.json    {"videos": {"dog-1f0c2a9b": {"path": "/home/me/dog.mp4", "start": null, "end": 4.0,
                                                        "sentences": {"the_dog-5d41402a": "The dog"}}}}

`referee segment` writes the file (stages/own/request.py). A record's id is <video>/<sentence> and its expression has the
id "0", so that every sentence has files of its own, whatever else is asked about its video; frames, and tracks that no
sentence enters, are stored once per video (`stages.core.tables.Format.per_sentence`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.records import Expression, Video, check_id, clean_caption
from stages.core.tables import Format
from stages.datasets.folder import FRAME_COST
from stages.datasets.folder_listing import list_frames
from stages.datasets.index_file import load_index
from stages.datasets.split import SplitDefaults

INDEX = "request.json"
EXPRESSION = "0"


class OwnSplit(SplitDefaults):
    """One's own videos (see `stages.core.records.Split`): frames are as a player shows them."""

    as_shown = True


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> OwnSplit:
    """A record per sentence, in the order of the request; `limit` counts sentences.

    Raises:
        ValueError: the request is missing or broken.
    """
    index = root / INDEX
    videos: Any = load_index(index).get("videos")
    try:
        records = [record for identifier, entry in videos.items() for record in _records(index, identifier, entry)]
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{index}: is no request ({error!r}); run `referee segment` again, which writes it") from error
    return OwnSplit(split, records[:limit])


def _records(index: Path, identifier: str, entry: Mapping[str, Any]) -> list[Video]:
    _check(entry)
    for name in (identifier, *entry["sentences"]):
        if "/" in name:
            raise TypeError(f"{name!r} is no id")
        check_id(name, f"{index}: id")
    location = Path(entry["path"])
    names, defect = list_frames(location) if location.is_dir() else ((), "")
    if not location.exists():
        defect = f"{location}: the video does not exist; put it there, or run `referee segment` again ({index})"
    cost = FRAME_COST * len(names) if names else location.stat().st_size if location.exists() else 0
    return [
        Video(
            id=f"{identifier}/{name}",
            frames=names,
            location=location,
            expressions=(Expression(EXPRESSION, clean_caption(text), None, text),),
            cost=cost,
            defect=defect,
            span=(entry["start"], entry["end"]),
        )
        for name, text in entry["sentences"].items()
    ]


def _check(entry: Mapping[str, Any]) -> None:
    """Raises TypeError where an entry is not as `referee segment` writes it."""
    if entry.keys() != {"path", "start", "end", "sentences"}:
        raise TypeError(f"a video has the keys {sorted(entry)}")
    sentences = entry["sentences"]
    if (
        not isinstance(sentences, dict)
        or not sentences
        or not all(isinstance(text, str) for text in sentences.values())
    ):
        raise TypeError(f"sentences {sentences!r}")
    for second in (entry["start"], entry["end"]):
        if second is not None and not (type(second) in (int, float) and 0 <= second < float("inf")):
            raise TypeError(f"a time of {second!r} seconds")


FORMAT = Format(name="own", open_split=open_split, index_files=(INDEX,), per_sentence=True)
