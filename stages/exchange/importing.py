"""Imported predictions as decisions, in a cache of their own, on which evaluate, render and assemble run.

    <results>/imports/<name>/config.yaml       an overlay that puts paths.cache and paths.results here
    <results>/imports/<name>/cache/<dataset>/<split>/
        frames                     link to the frames of the main cache
        tracks/import/<video>.h5   one track per expression: its masks, no tokens
        decisions/<video>.json     that track, chosen
        import.json                what was imported from where, and what was missing

Nothing of the pipeline's own state is touched, so no decision can overwrite another: rerank_tracks run with
the overlay finds no scores and stops, and an import refuses decisions that it did not make.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stages.core.config.file import Config, check_name
from stages.core.media import masks
from stages.core.records import IMPORT, Video
from stages.core.state.cache import CacheError, Stamp, State, atomic_path, inspect, read_stamp, write_json
from stages.core.state.choices import IMPORTED, Candidate, write_choices
from stages.core.state.frames import FrameFolder
from stages.core.state.graph import BUILD_TRACKS, EXTRACT_FRAMES, RERANK_TRACKS, Layout, Stage
from stages.core.state.marks import mark, refuse_foreign
from stages.core.state.track_file import Tracks, write_tracks
from stages.exchange.incoming import Answer, Incoming

FOLDER = "imports"
RECORD = "import.json"
HEAD = "# Give it after config.yaml to work on the import"  # of the overlay

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Import:
    """One named import of one split: where it is stored."""

    name: str
    root: Path
    dataset: str
    split: str

    @classmethod
    def of(cls, config: Config, name: str, dataset: str, split: str) -> "Import":
        """Raises ValueError where the name cannot be a folder, or a data set has the folder's name."""
        try:
            check_name(name, "import")
        except ValueError as error:
            raise ValueError(f"{error}; give another --name") from error
        if FOLDER in config.datasets:
            raise ValueError(
                f"a data set is called {FOLDER!r}, which is where imports are stored; rename it in the config"
            )
        return cls(name, Path(config.paths.results) / FOLDER / name, dataset, split)

    @property
    def layout(self) -> Layout:
        return Layout(self.root / "cache", self.dataset, self.split)

    @property
    def overlay(self) -> Path:
        return self.root / "config.yaml"


def prepare(target: Import, main: Layout) -> None:
    """Writes the overlay and links the frames.

    Raises:
        ValueError: a folder of that name exists that no import made.
    """
    if not _is_import(target.root):
        refuse_foreign(target.root)
    target.root.mkdir(parents=True, exist_ok=True)
    mark(target.root, f"import {target.name}")
    paths = {"paths": {"cache": str(target.layout.cache), "results": str(target.root)}}
    with atomic_path(target.overlay) as temporary:
        temporary.write_text(
            f"{HEAD} {target.name!r} (docs/exchange.md).\n" + yaml.safe_dump(paths, sort_keys=False),
            encoding="utf-8",
        )
    link = target.layout.root / EXTRACT_FRAMES.folder
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    if not link.exists():
        frames = main.folder(EXTRACT_FRAMES).resolve()
        link.symlink_to(os.path.relpath(frames, link.parent.resolve()))


def _is_import(root: Path) -> bool:
    """Whether a folder was made by an import of an earlier version, which left no mark."""
    overlay = root / "config.yaml"
    try:
        return not root.is_symlink() and overlay.read_text(encoding="utf-8").startswith(HEAD)
    except (OSError, UnicodeDecodeError):
        return False


def import_video(target: Import, video: Video, frames: FrameFolder, incoming: Incoming, *, overwrite: bool) -> bool:
    """Brings a video's tracks and decisions up to date with what is given for it; returns whether it had to.

    Raises:
        CacheError: there are decisions that no import made.
        ValueError: a given mask cannot be used.
    """
    given = {"name": target.name, "predictions": incoming.facts(video)}
    ingredients = {IMPORTED: given, "frames": frames.digest, "expressions": [e.id for e in video.expressions]}
    tracks, decisions = _file(target, BUILD_TRACKS, video), _file(target, RERANK_TRACKS, video)
    stamps = [Stamp(stage.name, stage.version, ingredients) for stage in (BUILD_TRACKS, RERANK_TRACKS)]
    _refuse_foreign(decisions)
    done = [inspect(path, stamp)[0] is State.COMPLETE for path, stamp in zip((tracks, decisions), stamps, strict=True)]
    if all(done) and not overwrite:
        return False
    answers = incoming.answers(video, frames)
    decisions.unlink(missing_ok=True)  # they name rows of the old tracks
    _write(tracks, decisions, stamps, video, frames, answers)
    return True


def write_record(
    target: Import, origin: Any, counts: Mapping[str, int], missing: Sequence[str], given: Incoming
) -> None:
    """Records what was imported from where; it stays in the cache and goes into the provenance of what is assembled.

    Args:
        origin: as JSON has it: the path of predictions, or the runs of an ensemble.
    """
    record = {
        "name": target.name,
        "from": origin,
        "counts": {**counts, "missing": len(missing), "surplus": len(given.surplus)},
        "notes": given.notes,
        "missing": list(missing),
        "surplus": given.surplus,
    }
    write_json(target.layout.root / RECORD, record)


def imported_record(layout: Layout) -> dict[str, Any] | None:
    """What `write_record` left in a cache, without its lists; None for the pipeline's own cache."""
    path = layout.root / RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {key: record[key] for key in ("name", "from", "counts", "notes")}
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f"{path}: damaged ({error!r}); run `python -m stages.tools.import_predictions` again"
        ) from error


def _file(target: Import, stage: Stage, video: Video) -> Path:
    return target.layout.file(stage, video.id, IMPORT if stage.per else None)


def _refuse_foreign(decisions: Path) -> None:
    if not decisions.exists():
        return
    try:
        ours = IMPORTED in read_stamp(decisions, RERANK_TRACKS.name).ingredients
    except CacheError:
        return  # damaged: made again, as everywhere
    if not ours:
        raise CacheError(f"{decisions}: was made by rerank_tracks, not by an import; give another --name or delete it")


def _write(
    tracks: Path,
    decisions: Path,
    stamps: Sequence[Stamp],
    video: Video,
    frames: FrameFolder,
    answers: Mapping[str, Answer],
) -> None:
    """One track per expression that shows anything; an empty answer has no candidate, a missing one no entry."""
    shown = {
        e.id: answers[e.id] for e in video.expressions if e.id in answers and masks.area(answers[e.id].rles_T).any()
    }
    rows = {expression: row for row, expression in enumerate(shown)}
    rles_NT = [answer.rles_T for answer in shown.values()]
    members = [[rows[e.id]] if e.id in rows else [] for e in video.expressions]
    write_tracks(tracks, stamps[0], _tracks(rles_NT, frames, members), rles_NT)
    choices = {e: [_candidate(rows[e], answer.score)] if e in rows else [] for e, answer in answers.items()}
    write_choices(decisions, stamps[1], choices)


def _candidate(row: int, score: float) -> Candidate:
    return Candidate(IMPORT, row, score, final=score, chosen=True)


def _tracks(rles_NT: Sequence[Sequence[Any]], frames: FrameFolder, members: Sequence[Sequence[int]]) -> Tracks:
    n, t = len(rles_NT), len(frames)
    area_NT = np.array([masks.area(row) for row in rles_NT], np.uint32).reshape(n, t)
    return Tracks(
        size=frames.size,
        tokens_NTC=np.zeros((n, t, 0), np.float32),
        score_NT=np.where(area_NT > 0, 1, -1).astype(np.float16),
        iou_NT=np.zeros((n, t), np.float16),
        area_NT=area_NT,
        bbox_NT4=np.array([masks.boxes(row) for row in rles_NT], np.uint16).reshape(n, t, 4),
        prompt_frame_N=np.full(n, -1, np.int16),
        prompt_id_N=np.full(n, -1, np.int32),
        expression_tracks=tuple(np.array(rows, np.int32) for rows in members),
        labels=None,
    )
