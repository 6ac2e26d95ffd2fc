"""A split with answers: frames extracted by the stage, tracks and decisions drawn by hand, one track an expression."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from support.drawn_tracks import tracks_of
from support.jobs import make_job
from support.project import ROOT
from support.tiny_mevis import write_tree

from stages import assemble, evaluate, extract_frames, render_predictions
from stages.core.config.loading import load_config, merge
from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.choices import Candidate, write_choices
from stages.core.state.frames import open_frames
from stages.core.state.graph import BUILD_TRACKS, RERANK_TRACKS
from stages.core.state.track_file import write_tracks
from stages.datasets import open_split

# (video, expression, frame index, size) → the mask that is predicted
Draw = Callable[[Video, Expression, int, tuple[int, int]], NDArray[np.bool_]]


def config_files(place: Path, over: Mapping[str, Any]) -> list[str]:
    """Flags for the command line: config.yaml, the tiny data set, and `over`, with all paths below `place`."""
    paths = {"paths": {"cache": str(place / "cache"), "results": str(place / "results")}}
    overlay = place / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(merge(paths, over)))
    files = (ROOT / "config.yaml", ROOT / "tests/configs/tiny.yaml", overlay)
    return [part for file in files for part in ("--config", str(file))]


def job_of(flags: list[str], dataset: str, split: str, **change: Any) -> Job:
    """The job of a command with these flags of `config_files`."""
    return make_job(load_config(*flags[1::2]), dataset, split, **change)


def tiny_split(place: Path) -> list[str]:
    """The tiny MeViS tree; returns the flags of its config. Overlays are off: they are tested elsewhere."""
    write_tree(place / "data")
    tiny = {"root": str(place / "data"), "settings": {"render": {"overlays": False}}}
    return config_files(place, {"datasets": {"tiny": tiny}})


def finished_split(place: Path) -> tuple[list[str], Job]:
    """The tiny split answered, evaluated, rendered and assembled: its flags and its job."""
    flags = tiny_split(place)
    job = job_of(flags, "tiny", "valid_u")
    answer(job)
    for stage in (evaluate, render_predictions, assemble):
        stage.run(job)
    return flags, job


def squares(video: Video, expression: Expression, index: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """A square that depends on everything; expressions of an odd id are empty in the first frame."""
    mask_HW = np.zeros(size, bool)
    number = int(expression.id)
    if index or number % 2 == 0:
        row, column = 3 * number, (5 * index + 7 * len(video.id)) % (size[1] - 16)
        mask_HW[row : row + 12, column : column + 16] = True
    return mask_HW


def answer(job: Job, draw: Draw = squares, finals: Mapping[str, float] | None = None) -> None:
    """Extracts the frames and decides: one grid track an expression, chosen, of final score 0 if not given."""
    extract_frames.run(job)
    for video in open_split(job.config, job.dataset, job.split).videos():
        frames = open_frames(job.layout, video.id)
        rles = [
            [masks.encode(draw(video, expression, t, frames.size)) for t in range(len(frames))]
            for expression in video.expressions
        ]
        stamp = Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {})
        tracks = tracks_of(frames.size, rles, len(rles), len(frames))
        write_tracks(job.layout.file(BUILD_TRACKS, video.id, "grid"), stamp, tracks, rles)
        choices = {
            expression.id: [Candidate("grid", row, 0.0, final=(finals or {}).get(expression.id, 0.0), chosen=True)]
            for row, expression in enumerate(video.expressions)
        }
        stamp = Stamp(RERANK_TRACKS.name, RERANK_TRACKS.version, {"by": "hand"})
        write_choices(job.layout.file(RERANK_TRACKS, video.id), stamp, choices)
