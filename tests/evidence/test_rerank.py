"""The stage rerank_tracks with a real tiny VLM: what is asked, what is kept, and what is decided."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.project import ROOT

from stages import rerank_tracks
from stages.core.config.loading import load_config
from stages.core.media import masks
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp, write_json
from stages.core.state.choices import Candidate, read_choices, write_choices
from stages.core.state.fingerprints import upstream
from stages.core.state.graph import BUILD_TRACKS, EXTRACT_FRAMES, RERANK_TRACKS, SCORE_TRACKS, Layout
from stages.core.state.track_file import Tracks, write_tracks
from stages.core.state.weights import record_path
from stages.evidence import local
from stages.evidence.judge import Reply
from stages.evidence.packing import pack
from stages.evidence.prompts import ask
from stages.evidence.replies import replies_path
from stages.evidence.reranker import decide
from stages.evidence.view import VideoView
from stages.micro.mllm import build_random_mllm

SIZE, N_FRAMES = (48, 64), 6
CAPTIONS = {"0": "the red square", "1": "the square that moves to the left", "2": "nothing like it"}
SCORES = {"grid": [1.5, -0.4, 0.2], "gdino": [1.0]}  # gdino's track serves expression 0 only


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_random_mllm(tmp_path_factory.mktemp("weights") / "mllm", 0)


def picture(seed: int, size=(96, 128)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


class Counting:
    """A real judge that counts what it is asked, and can be killed before some pass."""

    def __init__(self, judge, die_at=None):
        self.judge, self.die_at = judge, die_at
        self.asked: dict[str, Reply] = {}
        self.passes = 0

    def log_odds(self, questions):
        self.passes += 1
        if self.passes == self.die_at:
            raise KeyboardInterrupt
        texts = [question.text for question in questions]
        assert not self.asked.keys() & texts and len(set(texts)) == len(texts), "asked twice"
        self.asked |= zip(texts, replies := self.judge.log_odds(questions), strict=True)
        return replies


# ---------------------------------------------------------------- decisions


@given(
    scores=st.lists(st.floats(-1e3, 1e3), max_size=6),
    match=st.floats(-100, 100),
    threshold=st.floats(0, 1),
)
def test_without_weight_the_selector_decides_bit_for_bit(scores, match, threshold):
    candidates = [Candidate("grid", n, score) for n, score in enumerate(scores)]
    matches = {("grid", n): match for n in range(0, len(scores), 2)}
    plain, weighed = decide(candidates, {}, 0.5, threshold), decide(candidates, matches, 0.0, threshold)
    assert [c.chosen for c in plain] == [c.chosen for c in weighed]
    assert [c.final for c in weighed] == scores and [c.final for c in plain] == scores


def test_a_match_moves_the_decision_and_none_may_be_chosen():
    candidates = [Candidate("grid", 0, 0.5), Candidate("gdino", 0, -0.5), Candidate("grid", 1, 0.5)]
    decided = decide(candidates, {("grid", 0): -4.0, ("gdino", 0): 4.0}, 0.25, 0.5)
    assert [(c.match, c.final, c.chosen) for c in decided] == [(-4.0, -0.5, False), (4.0, 0.5, True), (None, 0.5, True)]
    assert not any(c.chosen for c in decide(candidates, {}, 0.25, 0.9))


# ---------------------------------------------------------------- the stage


@pytest.fixture
def project(tmp_path, folder, monkeypatch):
    """A split of two videos with tracks and scores in the cache, and the VLM's record."""
    monkeypatch.chdir(ROOT)
    index = {"videos": {v: {"frames": frame_names(), "expressions": captions(v)} for v in ("v", "empty")}}
    (tmp_path / "data/valid_u/JPEGImages").mkdir(parents=True)
    (tmp_path / "data/valid_u/meta_expressions.json").write_text(json.dumps(index), encoding="utf-8")
    files = {path.name: {"size": path.stat().st_size, "sha256": path.name} for path in folder.iterdir()}
    record = record_path(make_config(tmp_path), "micro", "mllm")
    write_json(record, {"path": str(folder), "files": files}, Stamp("fetch_weights", 1, {}))
    layout = layout_of(tmp_path)
    for video, n_tracks in (("v", {"grid": 3, "gdino": 1}), ("empty", {"grid": 0, "gdino": 0})):
        write_frames(layout, video)
        for source, n in n_tracks.items():
            write_source(layout, video, source, n)
        write_scores(layout, video, n_tracks)
    return tmp_path


def frame_names() -> list[str]:
    return [f"{t:05d}" for t in range(N_FRAMES)]


def captions(video: str) -> dict[str, dict[str, str]]:
    return {key: {"exp": text} for key, text in CAPTIONS.items() if video == "v" or key == "0"}


def write_frames(layout, video: str) -> None:
    layout.frames(video).mkdir(parents=True)
    for t, name in enumerate(frame_names()):
        Image.fromarray(picture(t, SIZE)).save(layout.frames(video) / f"{name}.png")
    facts = {"frames": frame_names(), "suffix": ".png", "size": SIZE, "timestamps": None, "digest": "d"}
    write_json(layout.file(EXTRACT_FRAMES, video), facts, Stamp("extract_frames", 1, {}))


def write_source(layout, video: str, source: str, n: int, absent_at: int | None = None) -> None:
    """Squares that move; track 2 of a source is never visible, and no track by its object score in `absent_at`."""
    masks_NTHW = np.zeros((n, N_FRAMES, *SIZE), bool)
    for k in range(min(n, 2)):
        for t in range(N_FRAMES):
            masks_NTHW[k, t, 5 + 20 * k : 20 + 20 * k, 8 * t : 8 * t + 16] = True
    rles_NT = [masks.encode_all(masks_THW) for masks_THW in masks_NTHW]
    rng = np.random.default_rng(n)
    object_NT = np.where(masks_NTHW.any((2, 3)), rng.uniform(1, 9, (n, N_FRAMES)), -5).astype(np.float16)
    object_NT[:, [] if absent_at is None else absent_at] = -1
    tracks = Tracks(
        size=SIZE,
        tokens_NTC=np.zeros((n, N_FRAMES, 256), np.float32),
        score_NT=object_NT,
        iou_NT=np.ones((n, N_FRAMES), np.float16),
        area_NT=masks_NTHW.sum((2, 3)).astype(np.uint32),
        bbox_NT4=np.zeros((n, N_FRAMES, 4), np.uint16),
        prompt_frame_N=np.zeros(n, np.int16),
        prompt_id_N=np.arange(n, dtype=np.int32),
        expression_tracks=tuple(np.arange(n, dtype=np.int32) for _ in captions(video)),
        labels=None,
    )
    write_tracks(
        layout.file(BUILD_TRACKS, video, source), Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {}), tracks, rles_NT
    )


def write_scores(layout, video: str, n_tracks: dict[str, int], stamp: str = "s") -> None:
    def candidates(expression: str) -> list[Candidate]:
        sources = ("grid", "gdino") if expression == "0" else ("grid",)
        return [Candidate(source, k, SCORES[source][k]) for source in sources for k in range(n_tracks[source])]

    path = layout.file(SCORE_TRACKS, video)
    scores = {key: candidates(key) for key in captions(video)}
    write_choices(path, Stamp(SCORE_TRACKS.name, SCORE_TRACKS.version, {"s": stamp}), scores, threshold=0.5)


def make_config(root: Path, **rerank):
    overlay = {
        "paths": {"weights": str(root / "weights"), "cache": str(root / "cache"), "results": str(root / "results")},
        "run": {"device": "cpu"},
        "datasets": {
            "shapes": {
                "root": str(root / "data"),
                "splits": {"train": {"role": "train", "limit": None}},
                "settings": {"rerank": {"frame_side": 96, "questions_per_pass": 3, "keyframes": 2, **rerank}},
            }
        },
    }
    file = root / "overlay.yaml"
    file.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return load_config("config.yaml", file)


def layout_of(root: Path) -> Layout:
    return Layout.of(make_config(root), "shapes", "valid_u")


def rerank(root: Path, monkeypatch, die_at=None, **settings):
    """Runs the stage; returns the decisions of both videos and what the (real, counted) VLM was asked."""
    made: list[Counting] = []

    def load(*arguments):
        made.append(Counting(REAL_LOAD(*arguments), die_at))
        return made[-1]

    monkeypatch.setattr(local, "load_judge", load)
    job = Job(make_config(root, **settings), "shapes", "valid_u", None, 0, 1, False, None)
    try:
        rerank_tracks.run(job)
    except KeyboardInterrupt:
        assert die_at is not None
        return None, made[0].asked
    decisions = {video: read_choices(job.layout.file(RERANK_TRACKS, video), RERANK_TRACKS) for video in ("v", "empty")}
    assert len(made) <= 1
    return decisions, made[0].asked if made else None


REAL_LOAD = local.load_judge


def test_the_stage_asks_both_ways_and_decides(project, monkeypatch):
    decisions, asked = rerank(project, monkeypatch, weight=0.5)
    # Expression 0: gdino's track and two visible grid tracks; 1 and 2: the two grid tracks. Both polarities each.
    assert len(asked) == 2 * (3 + 2 + 2) and decisions["empty"] == {"0": []}
    grid = [("grid", 0), ("grid", 1)]  # numbers follow the source and the row, not the score
    shown = {"0": [("gdino", 0), *grid], "1": grid, "2": grid}
    for key, candidates in decisions["v"].items():
        for c in candidates:
            expected = None
            if (c.source, c.track) in shown[key]:
                pair = ask(CAPTIONS[key], shown[key].index((c.source, c.track)) + 1, 2)
                expected = (asked[pair[0]].log_odds - asked[pair[1]].log_odds) / 2
            assert c.match == expected
            assert c.final == (c.score if c.match is None else c.score + 0.5 * c.match)
            assert c.chosen == (1 / (1 + math.exp(-c.final)) > 0.5)
    kept = json.loads(replies_path(layout_of(project), "v").read_text(encoding="utf-8"))["replies"]
    assert sorted(raw["log_odds"] for raw in kept.values()) == sorted(reply.log_odds for reply in asked.values())


def test_a_track_is_drawn_only_where_it_is_visible(project):
    layout = layout_of(project)
    write_source(layout, "v", "grid", 2, absent_at=3)
    view = VideoView(layout, "v", 96)
    plain = pack(picture(3, SIZE), {}, 96)
    absent, present = view.images([3, 4], [("grid", 0)])
    assert (absent == plain).all() and (present != pack(picture(4, SIZE), {}, 96)).any()
    assert not view.evidence([("grid", 0), ("grid", 1)]).visible_NT[:, 3].any()


def test_another_weight_or_threshold_loads_no_model(project, monkeypatch):
    first, asked = rerank(project, monkeypatch, weight=0.5)
    assert asked
    again, asked = rerank(project, monkeypatch, weight=2.0)
    assert asked is None
    assert [c.match for c in again["v"]["0"]] == [c.match for c in first["v"]["0"]]
    assert [c.final for c in again["v"]["0"]] != [c.final for c in first["v"]["0"]]
    _, asked = rerank(project, monkeypatch, weight=2.0, precision="bfloat16")
    assert asked


def test_a_killed_run_asks_nothing_twice_and_ends_with_the_same_bytes(project, monkeypatch):
    whole, asked = rerank(project, monkeypatch, weight=0.5)
    layout = layout_of(project)
    files = [layout.file(RERANK_TRACKS, "v"), replies_path(layout, "v")]
    expected = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    _, before = rerank(project, monkeypatch, weight=0.5, die_at=4)
    assert not files[0].exists()
    resumed, after = rerank(project, monkeypatch, weight=0.5)
    assert (
        not before.keys() & after.keys() and before | after == asked and len(before) == 9
    )  # three passes: 3 + 3 of one expression, 3 of the next
    assert resumed == whole and [file.read_bytes() for file in files] == expected


def test_weight_0_asks_and_changes_nothing_and_disabled_loads_nothing(project, monkeypatch):
    weighed, asked = rerank(project, monkeypatch, weight=0.0)
    assert asked and all(c.match is not None for c in weighed["v"]["1"] if c.track != 2)
    shutil.rmtree(project / "weights")  # switched off, the stage needs none
    plain, asked = rerank(project, monkeypatch, enabled=False)
    assert asked is None
    for key in CAPTIONS:
        assert [dataclasses.replace(c, match=None) for c in weighed["v"][key]] == plain["v"][key]
        assert [c.chosen for c in plain["v"][key]] == [c.score > 0 for c in plain["v"][key]]


def test_only_the_best_candidates_are_shown(project, monkeypatch):
    decisions, asked = rerank(project, monkeypatch, max_candidates=1)
    assert len(asked) == 2 * 3
    assert [c.match is not None for c in decisions["v"]["0"]] == [True, False, False, False]


def test_new_scores_are_decided_anew(project, monkeypatch):
    rerank(project, monkeypatch)
    layout = layout_of(project)
    before = upstream(layout, RERANK_TRACKS, "v")
    write_scores(layout, "v", {"grid": 2, "gdino": 0}, stamp="other")
    decisions, asked = rerank(project, monkeypatch)
    assert upstream(layout, RERANK_TRACKS, "v") != before and len(decisions["v"]["0"]) == 2
    assert len(asked) == 2 * 2  # expressions 1 and 2 keep their images, so their replies


def test_scores_of_other_tracks_fail_their_video_and_name_the_file(project, monkeypatch):
    layout = layout_of(project)
    write_source(layout, "v", "grid", 1)
    with pytest.raises(SystemExit) as stopped:
        rerank(project, monkeypatch)
    assert stopped.value.code == 1
    error = json.loads((layout.errors(RERANK_TRACKS) / "v.json").read_text(encoding="utf-8"))["error"]
    assert "has 1 tracks, the scores name row" in error and "score_tracks" in error
    assert layout.file(RERANK_TRACKS, "empty").exists()
