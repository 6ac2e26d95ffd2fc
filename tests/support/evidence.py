"""A split with frames, tracks and scores in its cache, ready for gathering evidence; a judge that keeps what it is asked."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from support.drawn_tracks import tracks_of
from support.jobs import make_job
from support.project import CONFIG

from stages import gather_evidence, rerank_tracks
from stages.core.config.file import Config
from stages.core.config.loading import load_config, merge
from stages.core.media import masks
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp, write_json
from stages.core.state.choices import Candidate, read_choices, write_choices
from stages.core.state.graph import BUILD_TRACKS, EXTRACT_FRAMES, RERANK_TRACKS, SCORE_TRACKS, Layout
from stages.core.state.track_file import write_tracks
from stages.core.state.weights import RECORD_STAGE, RECORD_VERSION, record_path
from stages.evidence.asked import key_of
from stages.evidence.backends import transformers
from stages.evidence.questions import Judge, Question, Reply

SIZE, N_FRAMES = (48, 64), 6
VIDEOS = ("v", "empty")  # of the second no track was found
CAPTIONS = {"0": "the red square", "1": "the square that moves to the left", "2": "nothing like it"}
SCORES = {"grid": [1.5, -0.4, 0.2], "gdino": [1.0]}  # gdino's track serves expression 0 only
REAL_LOAD = transformers.load_judge
# What the judge of the config is shown, unless a test says otherwise.
SHOWN = {"views": ["numbered"], "frame_side": 96, "frames": {"count": 2}, "same_iou": 1.0, "max_candidates": 8}


def picture(seed: int, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


class Counting:
    """A real judge that keeps what it is asked, and refuses to be asked twice.

    Attributes:
        asked: the words that a question ends with → its reply; with its key where other questions end with them too.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.asked: dict[str, Reply] = {}
        self.keys: set[str] = set()

    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        keys = [key_of(question, {}) for question in questions]
        assert not self.keys & set(keys) and len(set(keys)) == len(keys), "asked twice"
        self.keys |= set(keys)
        replies = self.judge.answer(questions)
        for question, key, reply in zip(questions, keys, replies, strict=True):
            words = words_of(question)
            self.asked[f"{words} [{key}]" if words in self.asked else words] = reply
        return replies


def words_of(question: Question) -> str:
    """The words that a question ends with."""
    assert isinstance(question.asked[-1], str)
    return question.asked[-1]


# ---------------------------------------------------------------- the split


def write_project(root: Path, mllm: Path) -> None:
    """Two videos with tracks and scores in the cache, and the record of the MLLM's weights."""
    write_index(root, CAPTIONS)
    files = {path.name: {"size": path.stat().st_size, "sha256": path.name} for path in mllm.iterdir()}
    record = record_path(make_config(root), "micro", "mllm")
    write_json(record, {"path": str(mllm), "files": files}, Stamp(RECORD_STAGE, RECORD_VERSION, {}))
    layout = layout_of(root)
    for video, n_tracks in zip(VIDEOS, ({"grid": 3, "gdino": 1}, {"grid": 0, "gdino": 0}), strict=True):
        write_frames(layout, video)
        for source, n in n_tracks.items():
            write_source(layout, video, source, n)
        write_scores(layout, video, n_tracks)


def write_index(root: Path, captions: Mapping[str, str]) -> None:
    """The data set's index: all captions are of the first video, the second has the first of them."""
    of_video = {"v": captions, "empty": {"0": captions["0"]}}
    entries = {
        v: {"frames": frame_names(), "expressions": {e: {"exp": text} for e, text in of_video[v].items()}}
        for v in VIDEOS
    }
    (root / "data/valid_u/JPEGImages").mkdir(parents=True, exist_ok=True)
    (root / "data/valid_u/meta_expressions.json").write_text(json.dumps({"videos": entries}), encoding="utf-8")


def frame_names() -> list[str]:
    return [f"{t:05d}" for t in range(N_FRAMES)]


def write_frames(layout: Layout, video: str) -> None:
    layout.frames(video).mkdir(parents=True)
    for t, name in enumerate(frame_names()):
        Image.fromarray(picture(t, SIZE)).save(layout.frames(video) / f"{name}.png")
    facts = {"frames": frame_names(), "suffix": ".png", "size": SIZE, "timestamps": None, "digest": "d"}
    write_json(layout.file(EXTRACT_FRAMES, video), facts, Stamp("extract_frames", EXTRACT_FRAMES.version, {}))


def write_source(layout: Layout, video: str, source: str, n: int, absent_at: int | slice | None = None) -> None:
    """Squares that move; track 2 of a source is never visible, and no track by its object score in `absent_at`."""
    masks_NTHW = np.zeros((n, N_FRAMES, *SIZE), bool)
    for k in range(min(n, 2)):
        for t in range(N_FRAMES):
            masks_NTHW[k, t, 5 + 20 * k : 20 + 20 * k, 8 * t : 8 * t + 16] = True
    rles_NT = [masks.encode_all(masks_THW) for masks_THW in masks_NTHW]
    rng = np.random.default_rng(n)
    object_NT = np.where(masks_NTHW.any((2, 3)), rng.uniform(1, 9, (n, N_FRAMES)), -5).astype(np.float16)
    object_NT[:, [] if absent_at is None else absent_at] = -1
    n_expressions = len(CAPTIONS) if video == "v" else 1
    tracks = tracks_of(SIZE, rles_NT, n_expressions, N_FRAMES, score_NT=object_NT)
    stamp = Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {})
    write_tracks(layout.file(BUILD_TRACKS, video, source), stamp, tracks, rles_NT)


def write_scores(
    layout: Layout, video: str, n_tracks: Mapping[str, int], stamp: str = "s", expressions: Sequence[str] = ()
) -> None:
    def candidates(expression: str) -> list[Candidate]:
        sources = ("grid", "gdino") if expression == "0" else ("grid",)
        return [Candidate(source, k, SCORES[source][k]) for source in sources for k in range(n_tracks[source])]

    scores = {key: candidates(key) for key in (expressions or (CAPTIONS if video == "v" else ("0",)))}
    made = Stamp(SCORE_TRACKS.name, SCORE_TRACKS.version, {"s": stamp})
    write_choices(layout.file(SCORE_TRACKS, video), made, scores, threshold=0.5)


# ---------------------------------------------------------------- running

# Decisions by weights of the config, not by the bundled fusion.
PLAIN = {"fusion": "fixed", "fusion_file": None, "same_iou": None, "looks_apart": False, "rule": {"kind": "threshold"}}


def make_config(root: Path, over: Mapping[str, Any] | None = None, **judge: Any) -> Config:
    """The config of the split: `over` changes the data set's settings, `judge` keys of its evidence `judge`."""
    settings: dict[str, Any] = {
        "run": {"device": "cpu", "batches": {"questions": 3}},
        "evidence": {"judge": merge(SHOWN, judge)},
        "rerank": {**PLAIN, "evidence": ["judge"], "weights": {"judge": 0.5}},
    }
    overlay = {
        "paths": {"weights": str(root / "weights"), "cache": str(root / "cache"), "results": str(root / "results")},
        "datasets": {
            "shapes": {
                "root": str(root / "data"),
                "splits": {"train": {"role": "train", "limit": None}},
                "settings": settings,
            }
        },
    }
    changes = {"datasets": {"shapes": {"settings": dict(over or {})}}}
    files = [root / "overlay.yaml", root / "changes.yaml"]
    for file, document in zip(files, (overlay, changes), strict=True):
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_config(CONFIG, *files)


def layout_of(root: Path) -> Layout:
    return Layout.of(make_config(root), "shapes", "valid_u")


def job_of(config: Config, *, overwrite: bool = False) -> Job:
    return make_job(config, "shapes", "valid_u", overwrite=overwrite)


def gather(
    root: Path, monkeypatch: Any, over: Mapping[str, Any] | None = None, *, overwrite: bool = False, **judge: Any
) -> dict[str, Reply] | None:
    """Runs gather_evidence; what the (real, counted) model was asked, None where it was not loaded."""
    made: list[Counting] = []

    def load(*arguments: Any) -> Counting:
        made.append(Counting(REAL_LOAD(*arguments)))
        return made[-1]

    monkeypatch.setattr(transformers, "load_judge", load)
    gather_evidence.run(job_of(make_config(root, over, **judge), overwrite=overwrite), "judge")
    assert len(made) <= 1
    return made[0].asked if made else None


def decide(root: Path, over: Mapping[str, Any] | None = None, **judge: Any) -> dict[str, dict[str, list[Candidate]]]:
    """Runs rerank_tracks; the decisions by video."""
    job = job_of(make_config(root, over, **judge))
    rerank_tracks.run(job)
    return {video: read_choices(job.layout.file(RERANK_TRACKS, video), RERANK_TRACKS) for video in VIDEOS}


def weighed(weight: float) -> dict[str, Any]:
    """Settings in which the judge has another weight."""
    return {"rerank": {"weights": {"judge": weight}}}
