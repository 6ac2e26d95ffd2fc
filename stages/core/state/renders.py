"""The rendered folders of the cache: what render_predictions leaves, and how it is read.

<video>.json beside <video>/: {"size", "frames", "expressions": {id: {"sentence", "predictions", "overlay", "note"}},
"files": {path below the folder: [bytes, start of their sha256]}}.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.records import Video
from stages.core.state.cache import CacheError, read_json, remedy
from stages.core.state.graph import RENDER_PREDICTIONS, Layout
from stages.core.state.vouched import Vouched, find_damage

PREDICTIONS, OVERLAYS = "predictions", "overlays"


@dataclass(frozen=True)
class Rendered:
    """What was rendered of a video.

    Attributes:
        folder, record: the folder of masks and overlays, and the file that vouches for it.
        files: path below the folder, with "/" → what the record says of it.
        notes: expression → why nothing is marked; expressions with an answer have none.
    """

    folder: Path
    record: Path
    files: dict[str, Vouched]
    notes: dict[str, str]

    def damage(self, *, thorough: bool = False) -> str:
        """What is wrong with the folder, in words; "" where it is whole (`thorough`: byte by byte)."""
        return find_damage(self.folder, self.files, self.record, thorough=thorough)


def render_folder(layout: Layout, video: str) -> Path:
    """The folder of a video's PNGs and overlays, beside its record."""
    return layout.folder(RENDER_PREDICTIONS) / video


def open_render(layout: Layout, video: str) -> Rendered:
    """What was rendered of a video; raises CacheError where that cannot be used."""
    path = layout.file(RENDER_PREDICTIONS, video)
    raw: dict[str, Any] = read_json(path, RENDER_PREDICTIONS.name, RENDER_PREDICTIONS.version)
    try:
        files = {name: Vouched(int(size), str(sha256)) for name, (size, sha256) in raw["files"].items()}
        notes = {key: str(entry["note"]) for key, entry in raw["expressions"].items() if entry["note"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CacheError(f"{path}: damaged ({error!r}); {remedy(RENDER_PREDICTIONS.name)}") from error
    return Rendered(render_folder(layout, video), path, files, notes)


def summarise_empty(layout: Layout, videos: Iterable[Video]) -> str:
    """One line on the expressions whose answer is empty, of the videos that are rendered; "" where there are none."""
    total, empty = 0, []
    for video in videos:
        try:
            notes = open_render(layout, video.id).notes
        except CacheError:
            continue
        total += len(video.expressions)
        empty += [f"{video.id}/{e.id}: {notes[e.id]}" for e in video.expressions if e.id in notes]
    return f"{len(empty)} of {total} expressions have no answer, as {empty[0]}" if empty else ""
