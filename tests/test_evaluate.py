"""The evaluate stage on real cache files: decisions and tracks in, rows and figures out."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stages import evaluate
from stages.core import masks
from stages.core.cache import CacheError, Stamp, write_json
from stages.core.choices import Candidate, write_choices
from stages.core.cli import Job
from stages.core.config import load_config
from stages.core.graph import BUILD_TRACKS, EVALUATE, EXTRACT_FRAMES, RERANK_TRACKS, Layout
from stages.core.track_file import Tracks, write_tracks
from stages.datasets import open_split
from stages.metrics.report import collect_rows, summarise

CONFIG = Path(__file__).parents[1] / "config.yaml"
H, W, T = 24, 32, 3
LEFT, RIGHT, NONE = np.zeros((H, W), bool), np.zeros((H, W), bool), np.zeros((H, W), bool)
LEFT[4:14, 2:12] = RIGHT[4:14, 18:28] = True
EXPRESSIONS = {
    "0": {"exp": "the left box", "obj_id": [0], "anno_id": [5]},
    "1": {"exp": "both boxes", "obj_id": [0, 1], "anno_id": [5, 6]},
    "2": {"exp": "the cat", "obj_id": [], "anno_id": []},
    "10": {"exp": "the right box", "obj_id": [1], "anno_id": [6]},
}
DECISIONS = {
    "0": [Candidate("grid", 0, 1.0, chosen=True), Candidate("grid", 1, -1.0)],
    "1": [Candidate("grid", 0, 1.0, chosen=True), Candidate("gdino", 0, 1.0, chosen=True)],
    "2": [Candidate("grid", 0, -1.0)],
    "10": [],
}


def rles(*frames: NDArray[np.bool_] | None) -> list[dict[str, object] | None]:
    encoded = [None if frame is None else masks.encode(frame) for frame in frames]
    return [None if e is None else {"size": list(e["size"]), "counts": e["counts"]} for e in encoded]


def write_tracks_of(path: Path, tracks: list[list[NDArray[np.bool_]]]) -> None:
    n = len(tracks)
    record = Tracks(
        size=tracks[0][0].shape,
        tokens_NTC=np.zeros((n, T, 256), np.float32),
        score_NT=np.zeros((n, T), np.float16),
        iou_NT=np.zeros((n, T), np.float16),
        area_NT=np.zeros((n, T), np.uint32),
        bbox_NT4=np.zeros((n, T, 4), np.uint16),
        prompt_frame_N=np.zeros(n, np.int16),
        source_N=np.zeros(n, np.uint8),
        prompt_id_N=np.zeros(n, np.int32),
        expression_tracks=tuple(np.arange(n, dtype=np.int32) for _ in EXPRESSIONS),
        labels=None,
    )
    write_tracks(
        path, Stamp("build_tracks", BUILD_TRACKS.version, {}), record, [list(map(masks.encode, t)) for t in tracks]
    )


@pytest.fixture
def job(tmp_path: Path) -> Job:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"paths: {{cache: {tmp_path / 'cache'}}}\ndatasets: {{mevis: {{root: {tmp_path / 'data'}}}}}\n")
    return Job(load_config(CONFIG, overlay), "mevis", "valid_u", None, 0, 1, False, None)


@pytest.fixture
def layout(job: Job, tmp_path: Path) -> Layout:
    """A data set of one video, and the state that every stage before evaluate leaves."""
    split, names = tmp_path / "data/valid_u", [f"{t:05d}" for t in range(T)]
    (split / "JPEGImages/v").mkdir(parents=True)
    for name in names:
        Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(split / f"JPEGImages/v/{name}.jpg")
    (split / "meta_expressions.json").write_text(
        json.dumps({"videos": {"v": {"frames": names, "expressions": EXPRESSIONS}}})
    )
    (split / "mask_dict.json").write_text(json.dumps({"5": rles(LEFT, LEFT, LEFT), "6": rles(RIGHT, RIGHT, None)}))
    layout = job.layout
    write_json(
        layout.file(EXTRACT_FRAMES, "v"),
        {"frames": names, "suffix": ".jpg", "size": [H, W], "timestamps": None, "digest": "d"},
        Stamp("extract_frames", EXTRACT_FRAMES.version, {}),
    )
    write_tracks_of(layout.file(BUILD_TRACKS, "v", "grid"), [[LEFT] * T, [RIGHT] * T])
    write_tracks_of(layout.file(BUILD_TRACKS, "v", "gdino"), [[RIGHT, NONE, NONE]])
    decide(layout, DECISIONS)
    return layout


def decide(layout: Layout, decisions: dict[str, list[Candidate]], salt: int = 0) -> None:
    write_choices(
        layout.file(RERANK_TRACKS, "v"), Stamp("rerank_tracks", RERANK_TRACKS.version, {"salt": salt}), decisions
    )


def rows_of(job: Job) -> dict[str, dict[str, object]]:
    rows = collect_rows(job.layout, open_split(job.config, job.dataset, job.split).videos())
    return {row["expression"]: row for row in rows}


def test_rows_of_a_video(job: Job, layout: Layout) -> None:
    evaluate.run(job)
    rows = rows_of(job)
    assert list(rows) == ["0", "1", "2", "10"]  # by id in the order of the index, not of text
    assert rows["0"] == {
        "video": "v", "expression": "0", "caption": "the left box", "J": 1.0, "F": 1.0, "J&F": 1.0,
        "no_target": False, "predicted_empty": False, "boundary_ratio": 0.008, "tracks": 1, "frames": T,
    }  # fmt: skip
    assert rows["1"]["J"] == pytest.approx((1 + 0.5 + 1) / 3) and rows["1"]["tracks"] == 2
    assert (rows["2"]["J&F"], rows["2"]["no_target"], rows["2"]["predicted_empty"]) == (1.0, True, True)
    assert rows["10"]["J"] == pytest.approx(1 / 3) and rows["10"]["F"] == pytest.approx(1 / 3)
    assert (rows["10"]["predicted_empty"], rows["10"]["tracks"]) == (True, 0)
    figures = summarise(list(rows.values()), "mevis", "valid_u")["figures"]
    assert figures["N-acc"] == 1 and figures["T-acc"] == pytest.approx(2 / 3)


def test_what_is_done_is_left_and_new_decisions_are_scored_again(job: Job, layout: Layout) -> None:
    evaluate.run(job)
    path = layout.file(EVALUATE, "v")
    before = path.stat().st_mtime_ns
    evaluate.run(job)
    assert path.stat().st_mtime_ns == before
    decide(layout, DECISIONS | {"0": []}, salt=1)
    evaluate.run(job)
    assert rows_of(job)["0"]["J"] == 0


def test_changed_truth_is_scored_again(job: Job, layout: Layout, tmp_path: Path) -> None:
    evaluate.run(job)
    (tmp_path / "data/valid_u/mask_dict.json").write_text(
        json.dumps({"5": rles(RIGHT, RIGHT, RIGHT), "6": rles(RIGHT, RIGHT, None)})
    )
    evaluate.run(job)
    assert rows_of(job)["0"]["J"] == 0


def test_without_ground_truth_rows_have_no_scores(
    job: Job, layout: Layout, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data/valid_u/mask_dict.json").unlink()
    index = tmp_path / "data/valid_u/meta_expressions.json"
    blind = {key: {"exp": value["exp"]} for key, value in EXPRESSIONS.items()}
    frames = [f"{t:05d}" for t in range(T)]
    index.write_text(json.dumps({"videos": {"v": {"frames": frames, "expressions": blind}}}))
    with caplog.at_level(logging.INFO):
        evaluate.run(job)
    assert caplog.text.count("no ground truth") == 1
    rows = rows_of(job)
    assert all(row[name] is None for row in rows.values() for name in ("J", "F", "J&F", "no_target"))
    assert [row["predicted_empty"] for row in rows.values()] == [False, False, True, True]
    assert summarise(list(rows.values()), "mevis", "valid_u")["truth"] is False


def fails(job: Job, caplog: pytest.LogCaptureFixture) -> str:
    with pytest.raises(SystemExit) as caught:
        evaluate.run(job)
    assert caught.value.code == 1
    return caplog.text


def test_truth_of_another_size_is_an_error(
    job: Job, layout: Layout, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wide = np.zeros((H, W + 1), bool)
    (tmp_path / "data/valid_u/mask_dict.json").write_text(
        json.dumps({"5": rles(wide, wide, wide), "6": rles(wide, None, None)})
    )
    assert "annotation 5 is of size [(24, 33)]" in fails(job, caplog)


def test_tracks_of_another_size_are_an_error(job: Job, layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    write_tracks_of(layout.file(BUILD_TRACKS, "v", "gdino"), [[np.zeros((H + 1, W), bool)] * T])
    assert "video 'v', expression '1'" in fails(job, caplog)


def test_a_lost_decision_is_an_error(job: Job, layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    decide(layout, {"0": []})
    assert "decides nothing about expression '1'" in fails(job, caplog)
    with pytest.raises(CacheError, match="does not exist"):
        rows_of(job)


def test_missing_decisions_name_the_stage(job: Job, layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    layout.file(RERANK_TRACKS, "v").unlink()
    assert "stages.rerank_tracks" in fails(job, caplog)
