"""Predictions from elsewhere, one video at a time: mask PNGs or YouTube-VIS JSON.

Legend: T frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stages.core.digests import digest
from stages.core.media import masks
from stages.core.records import Rle, Split, Video
from stages.core.spelling import nfc
from stages.core.state.frames import FrameFolder
from stages.core.text_files import read_json
from stages.exchange.archives import Archive, open_archive
from stages.exchange.judge import Defect, imported, judge
from stages.exchange.layouts import ZipLayout, layouts_of
from stages.exchange.names import Expected, Matching, expected_of, is_litter, match
from stages.exchange.png import expressions_of

NOTHING_FITS = "{}: nothing in it fits {}; the layout is {}, see docs/exchange.md"


@dataclass(frozen=True)
class Answer:
    """One expression's masks (T, empty ones included) and their score; higher wins where objects overlap."""

    rles_T: list[Rle]
    score: float


class Incoming(Protocol):
    """Predictions of a split from elsewhere.

    Attributes:
        surplus: what belongs to nothing in the split.
        notes: what else the user should know, one line each.
    """

    surplus: list[str]
    notes: list[str]

    def facts(self, video: Video) -> str:
        """A digest of all that is given for a video, without decoding it."""
        ...

    def missing(self, video: Video) -> list[str]:
        """What is not given for a video, by name."""
        ...

    def answers(self, video: Video, frames: FrameFolder) -> dict[str, Answer]:
        """Expression → answer, of the expressions that have any mask.

        Raises:
            ValueError: a mask is damaged or of another size than the frames; the message names it.
        """
        ...


@contextmanager
def open_incoming(
    origin: Path, split: Split, videos: Sequence[Video], folders: Mapping[str, FrameFolder], threshold: float | None
) -> Iterator[Incoming]:
    """Opens predictions by the kind of file: a JSON file, or else a zip or a folder of mask PNGs.

    Raises:
        ValueError: nothing of the kind is there, or nothing in it fits the split.
    """
    if origin.suffix == ".json":
        if not origin.is_file():
            raise ValueError(f"{origin}: does not exist or is no file")
        if threshold is not None:
            raise ValueError(f"{origin}: a threshold is for mask PNGs; RLEs have no shades")
        yield read_ytvis(origin, videos)
    else:
        with open_archive(origin) as archive:
            yield IncomingPngs(origin, archive, split, videos, folders, threshold)


class IncomingPngs:
    """Masks of an archive in one of the layouts of the split's protocol, whichever most names fit.

    Args:
        threshold: share of white from which on a grey pixel is the object; None = masks with grey values are errors.
    """

    def __init__(
        self,
        path: Path,
        archive: Archive,
        split: Split,
        videos: Sequence[Video],
        folders: Mapping[str, FrameFolder],
        threshold: float | None = None,
    ) -> None:
        self.path, self.archive, self.threshold = path, archive, threshold
        self.entries: dict[str, dict[str, Expected]] = {}
        best: tuple[ZipLayout, Matching] | None = None
        for layout in layouts_of(split.protocol):
            entries = {
                video.id: expected_of(layout, split, video, folders[video.id].names, folders[video.id].size)
                for video in videos
            }
            flat = {path: one for of_video in entries.values() for path, one in of_video.items()}
            matching = match(archive.facts, flat, layout)
            if best is None or len(matching.found) > len(best[1].found):
                best, self.entries = (layout, matching), entries
        assert best is not None
        self.layout, matching = best
        if not matching.found:
            hint = f"; its names are like {matching.surplus[0]!r}" if matching.surplus else ""
            raise ValueError(NOTHING_FITS.format(path, f"{split.name!r}", self.layout.pattern) + hint)
        if matching.duplicates:
            raise ValueError(f"{path}: {matching.duplicates[0]!r} and others are given twice; make it again")
        litter = [name for name in matching.surplus if is_litter(name)]
        self.found, self.surplus = matching.found, [name for name in matching.surplus if not is_litter(name)]
        self.notes = [f"{len(names)} files are {shift}; read all the same" for shift, names in matching.shifts.items()]
        if litter:
            self.notes.append(f"{len(litter)} files of a desktop are left out, as {litter[0]!r}")
        if threshold is not None:
            self.notes.append(f"grey values from {threshold:g} of white on are taken for the object")

    def facts(self, video: Video) -> str:
        names = {path: self.archive.facts[self.found[path]] for path in self.entries[video.id] if path in self.found}
        thresholded = [] if self.threshold is None else [self.threshold]
        return digest([self.layout.name, names, *thresholded])

    def missing(self, video: Video) -> list[str]:
        return [path for path in self.entries[video.id] if path not in self.found]

    def answers(self, video: Video, frames: FrameFolder) -> dict[str, Answer]:
        empty = masks.empty(frames.size)
        answers: dict[str, Answer] = {}
        for path, one in self.entries[video.id].items():
            if path in self.found:
                for expression, rle in self._masks(path, one).items():
                    answer = answers.setdefault(expression, Answer([empty] * len(frames), 0.0))
                    answer.rles_T[one.entry.frame] = rle
        return answers

    def _masks(self, path: str, one: Expected) -> dict[str, Rle]:
        assert one.size is not None
        name = self.found[path]
        data = self.archive.read(name)
        try:
            labels_HW = judge(data, one.size, imported(tuple(one.entry.labels), self.threshold))
        except Defect as defect:
            raise ValueError(f"{self.path}: {name} {defect}") from defect
        return expressions_of(labels_HW, one.entry.labels)


@dataclass
class IncomingYtvis:
    """YouTube-VIS results: `video_id`, `expression_id`, `score`, `segmentations` (an RLE or null per frame)."""

    path: Path
    entries: Mapping[tuple[str, str], Mapping[str, Any]]
    surplus: list[str]
    notes: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)  # expressions that several entries are for

    def facts(self, video: Video) -> str:
        return digest([self.entries.get((nfc(video.id), nfc(expression.id))) for expression in video.expressions])

    def missing(self, video: Video) -> list[str]:
        ids = [expression.id for expression in video.expressions]
        return [
            f"{video.id}/{identifier}" for identifier in ids if (nfc(video.id), nfc(identifier)) not in self.entries
        ]

    def answers(self, video: Video, frames: FrameFolder) -> dict[str, Answer]:
        answers = {}
        for expression in video.expressions:
            entry = self.entries.get((nfc(video.id), nfc(expression.id)))
            if entry is not None:
                where = f"{self.path}: video {video.id!r}, expression {expression.id!r}"
                rles_T = _segmentations(entry["segmentations"], frames.size, len(frames), where)
                answers[expression.id] = Answer(rles_T, float(entry["score"]))
        return answers


def read_ytvis(path: Path, videos: Sequence[Video]) -> IncomingYtvis:
    """The results of a JSON file. Of several entries for one expression the one with the highest score counts.

    Raises:
        ValueError: it is not such a list, or nothing in it belongs to the split.
    """
    document = read_json(path, "file of results", "make it again")
    if not isinstance(document, list):
        lists = (
            [str(key) for key, value in document.items() if isinstance(value, list)]
            if isinstance(document, dict)
            else []
        )
        where = f"; give the list under {lists[0]!r} alone" if len(lists) == 1 else ""
        raise ValueError(f"{path}: YouTube-VIS results are a list; found {type(document).__name__}{where}")
    known = {(nfc(video.id), nfc(expression.id)) for video in videos for expression in video.expressions}
    best: dict[tuple[str, str], Mapping[str, Any]] = {}
    surplus, repeated = [], []
    for number, entry in enumerate(document):
        key = _key(entry, f"{path}: entry {number}")
        if key not in known:
            surplus.append("/".join(key))
        else:
            if key in best:
                repeated.append("/".join(key))
            if key not in best or entry["score"] > best[key]["score"]:
                best[key] = entry
    if not best:
        raise ValueError(NOTHING_FITS.format(path, "the split", "the list of YouTube-VIS results"))
    notes = [f"{len(repeated)} entries repeat an expression: the best score of each was taken"] if repeated else []
    return IncomingYtvis(path, best, surplus, notes, repeated)


def _key(entry: Any, where: str) -> tuple[str, str]:
    if not isinstance(entry, dict) or not {"video_id", "expression_id", "score", "segmentations"} <= entry.keys():
        raise ValueError(f"{where}: needs video_id, expression_id, score and segmentations; see docs/exchange.md")
    score = entry["score"]
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not abs(score) < float("inf"):
        raise ValueError(f"{where}: score {score!r} is not a finite number")
    return nfc(str(entry["video_id"])), nfc(str(entry["expression_id"]))


def _segmentations(raw: Any, size: tuple[int, int], n_frames: int, where: str) -> list[Rle]:
    if not isinstance(raw, list) or len(raw) != n_frames:
        actual = f"{len(raw)} masks" if isinstance(raw, list) else f"{type(raw).__name__}"
        raise ValueError(f"{where}: segmentations are a list of {n_frames} masks, one per frame; found {actual}")
    empty = masks.empty(size)
    return [empty if rle is None else _rle(rle, size, f"{where}, mask {t}") for t, rle in enumerate(raw)]


def _rle(raw: Any, size: tuple[int, int], where: str) -> Rle:
    try:
        rle = masks.read_rle(raw)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if rle["size"] != tuple(size):
        raise ValueError(f"{where}: is of size {list(rle['size'])} (height, width), its frame of {list(size)}")
    return rle
