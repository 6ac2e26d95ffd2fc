"""The runs that are averaged: submissions, results in JSON, and decisions in a cache, one video at a time.

Legend: H height, W width.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.digests import digest
from stages.core.records import Split, Video
from stages.core.spelling import nfc
from stages.core.state.cache import CacheError
from stages.core.state.choices import confidence, predicted_masks, read_answers
from stages.core.state.fingerprints import upstream
from stages.core.state.frames import FrameFolder, open_frames
from stages.core.state.graph import RERANK_TRACKS, Layout
from stages.exchange.archives import Archive, open_archive
from stages.exchange.importing import RECORD
from stages.exchange.incoming import Answer, Incoming, IncomingPngs, IncomingYtvis, open_incoming
from stages.exchange.judge import Defect, shares
from stages.exchange.layouts import PerExpression

HALF = 0.5  # probability from which on a pixel counts as the object where a run is scored alone
LEAST = 1e-6  # a confidence of 0 or 1 has no logit
LISTED = 5  # names in a message

Place = Path | Layout  # of predictions: a file or a folder, or the cache that holds decisions


@dataclass
class Run:
    """One system's predictions of a split.

    Attributes:
        origin: where they are from, in words.
        soft: the same predictions where their pixels are probabilities; None = masks, which are votes.
    """

    name: str
    origin: str
    incoming: Incoming
    soft: "SoftPngs | None" = None
    _kept: tuple[str, dict[str, Answer]] | None = field(default=None, repr=False)

    def answers(self, video: Video, frames: FrameFolder) -> dict[str, Answer]:
        """As masks, without those that are missing; of one video they are read once."""
        if self._kept is None or self._kept[0] != video.id:
            self._kept = video.id, self.incoming.answers(video, frames)
        return self._kept[1]


class SoftPngs(IncomingPngs):
    """Grey PNGs whose shares of white are probabilities; taken as masks, a pixel is the object from a half on."""

    def __init__(
        self,
        path: Path,
        archive: Archive,
        split: Split,
        videos: Sequence[Video],
        folders: Mapping[str, FrameFolder],
    ) -> None:
        super().__init__(path, archive, split, videos, folders, HALF)
        if not isinstance(self.layout, PerExpression):
            raise ValueError(f"{self.path}: holds label maps, whose values are no probabilities; leave --soft out")
        self._paths: tuple[str, dict[tuple[str, int], str]] | None = None  # of one video: expression, frame → path

    def probability(self, video: Video, expression: str, frame: int) -> NDArray[np.float64] | None:
        """(H, W) in 0 … 1; None where it is missing. Raises ValueError, naming the file, where it cannot be used."""
        if self._paths is None or self._paths[0] != video.id:
            entries = self.entries[video.id]
            self._paths = (
                video.id,
                {(e, one.entry.frame): path for path, one in entries.items() for e in one.entry.labels.values()},
            )
        path = self._paths[1].get((expression, frame))
        if path is None or path not in self.found:
            return None
        size = self.entries[video.id][path].size
        assert size is not None
        try:
            return shares(self.archive.read(self.found[path]), size)
        except Defect as defect:
            raise ValueError(f"{self.path}: {self.found[path]} {defect}") from defect


class Decided:
    """Implements `Incoming`: the answers in a cache, the pipeline's own or an import's.

    Raises:
        ValueError: its frames are other ones than `folders` holds.
    """

    def __init__(self, layout: Layout, videos: Sequence[Video], folders: Mapping[str, FrameFolder]) -> None:
        self.layout = layout
        self.surplus: list[str] = []
        self.notes: list[str] = []
        for video in videos:
            if open_frames(layout, video.id).digest != folders[video.id].digest:
                raise ValueError(
                    f"{layout.frames(video.id)}: other frames than {folders[video.id].directory} holds; runs that are "
                    "averaged need the same frames: extract them with one config"
                )
        self._left_out = left_out_of(layout)

    def facts(self, video: Video) -> str:
        return upstream(self.layout, RERANK_TRACKS, video.id)

    def missing(self, video: Video) -> list[str]:
        """What an import lists as missing, else expressions without a decision."""
        lines = [line for line in self._left_out if f"/{nfc(video.id)}/" in f"/{nfc(line)}/"]
        decided = read_answers(self.layout.file(RERANK_TRACKS, video.id), video)
        return lines or [f"{video.id}/{expression}" for expression, chosen in decided.items() if chosen is None]

    def answers(self, video: Video, frames: FrameFolder) -> dict[str, Answer]:
        answers = {}
        for expression, candidates in read_answers(self.layout.file(RERANK_TRACKS, video.id), video).items():
            if candidates is not None:
                rles_T = predicted_masks(self.layout, video.id, candidates, frames.size, len(frames))
                answers[expression] = Answer(rles_T, logit(confidence(candidates)))
        return answers


def left_out_of(layout: Layout) -> list[str]:
    """What the import that made a cache lists as missing; [] for the pipeline's own."""
    path = layout.root / RECORD
    if not path.is_file():
        return []
    try:
        return [str(line) for line in json.loads(path.read_text(encoding="utf-8"))["missing"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(f"{path}: damaged ({error!r}); import it again") from error


@contextmanager
def open_run(
    name: str,
    place: Place,
    split: Split,
    videos: Sequence[Video],
    folders: Mapping[str, FrameFolder],
    *,
    soft: bool = False,
) -> Iterator[Run]:
    """Opens one system's predictions.

    Args:
        soft: its PNGs hold probabilities.

    Raises:
        ValueError: they cannot be used, or hold an expression or a file twice; the message names the run.
    """
    with ExitStack() as opened:
        try:
            run = _open(opened, name, place, split, videos, folders, soft=soft)
        except ValueError as error:
            raise ValueError(f"run {name!r}: {error}") from error
        yield run


def _open(
    opened: ExitStack,
    name: str,
    place: Place,
    split: Split,
    videos: Sequence[Video],
    folders: Mapping[str, FrameFolder],
    *,
    soft: bool,
) -> Run:
    if isinstance(place, Layout):
        if soft:
            raise ValueError("decisions in a cache are masks, no probabilities; leave --soft out")
        return Run(name, str(place.root), Decided(place, videos, folders))
    if soft:
        if place.suffix == ".json":
            raise ValueError(f"{place}: RLEs are masks, no probabilities; leave --soft out")
        pngs = SoftPngs(place, opened.enter_context(open_archive(place)), split, videos, folders)
        return Run(name, str(place), pngs, pngs)
    incoming = opened.enter_context(open_incoming(place, split, videos, folders, None))
    refuse_repeated(incoming)
    return Run(name, str(place), incoming)


def refuse_repeated(incoming: Incoming) -> None:
    if isinstance(incoming, IncomingYtvis) and incoming.repeated:
        raise ValueError(
            f"{incoming.path}: {len(incoming.repeated)} entries repeat an expression, as {incoming.repeated[0]}; "
            "keep one per expression"
        )


def missing_of(run: Run, videos: Sequence[Video]) -> list[str]:
    return [line for video in videos for line in run.incoming.missing(video)]


def refuse_missing(run: Run, missing: Sequence[str]) -> None:
    """Raises ValueError naming what a run lacks."""
    if missing:
        listed = ", ".join(missing[:LISTED]) + (", …" if len(missing) > LISTED else "")
        raise ValueError(
            f"run {run.name!r}: {run.origin} lacks {len(missing)} predictions: {listed}; complete it, or take them as "
            "empty with --missing empty"
        )


def facts_of(run: Run, video: Video) -> str:
    """A digest of what a run says of a video, and of how it is read."""
    return digest([run.incoming.facts(video), run.soft is not None])


def logit(probability: float) -> float:
    from scipy.special import logit as of  # late: `--help` need not wait for scipy

    return float(of(min(max(probability, LEAST), 1 - LEAST)))
