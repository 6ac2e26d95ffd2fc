"""A split with answers: frames extracted by the stage, tracks and decisions drawn by hand, one track an expression."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.project import ROOT
from support.tiny_mevis import write_tree

from stages import assemble, evaluate, extract_frames, render_predictions
from stages.core.config.loading import merge, parse_config, read_yaml
from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.choices import Candidate, write_choices
from stages.core.state.frames import open_frames
from stages.core.state.graph import BUILD_TRACKS, RERANK_TRACKS
from stages.core.state.track_file import Tracks, write_tracks
from stages.datasets import open_split

# (video, expression, frame index, size) → the mask that is predicted
Draw = Callable[[Video, Expression, int, tuple[int, int]], NDArray[np.bool_]]


def config_files(place: Path, over: Mapping[str, Any]) -> list[str]:
    """Flags for the command line: config.yaml, the tiny data set, and `over`, with all paths below `place`."""
    import yaml

    paths = {"paths": {"cache": str(place / "cache"), "results": str(place / "results")}}
    overlay = place / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(merge(paths, over)))
    files = (ROOT / "config.yaml", ROOT / "tests/configs/tiny.yaml", overlay)
    return [part for file in files for part in ("--config", str(file))]


def job_of(flags: list[str], dataset: str, split: str, **over: Any) -> Job:
    raw: dict[str, Any] = {}
    for file in flags[1::2]:
        raw = merge(raw, read_yaml(Path(file)))
    known = {"pid": 0, "n_pids": 1, "overwrite": False, "limit": None, "source": None}
    return Job(config=parse_config(raw), dataset=dataset, split=split, **{**known, **over})


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
        write_tracks(
            job.layout.file(BUILD_TRACKS, video.id, "grid"), stamp, plain_record(frames.size, rles, len(rles)), rles
        )
        choices = {
            expression.id: [Candidate("grid", row, 0.0, final=(finals or {}).get(expression.id, 0.0), chosen=True)]
            for row, expression in enumerate(video.expressions)
        }
        stamp = Stamp(RERANK_TRACKS.name, RERANK_TRACKS.version, {"by": "hand"})
        write_choices(job.layout.file(RERANK_TRACKS, video.id), stamp, choices)


def plain_record(size: tuple[int, int], rles: list[list[Any]], n_expressions: int) -> Tracks:
    """Tracks of these masks (N rows of T), with tokens of zeros, that belong to all expressions."""
    n, t = len(rles), len(rles[0]) if rles else 0
    return Tracks(
        size=size,
        tokens_NTC=np.zeros((n, t, 256), np.float32),
        score_NT=np.ones((n, t), np.float16),
        iou_NT=np.ones((n, t), np.float16),
        area_NT=np.array([masks.area(row) for row in rles]),
        bbox_NT4=np.array([masks.boxes(row) for row in rles]),
        prompt_frame_N=np.zeros(n, np.int16),
        prompt_id_N=np.arange(n, dtype=np.int32),
        expression_tracks=tuple(np.arange(n, dtype=np.int32) for _ in range(n_expressions)),
        labels=None,
    )
