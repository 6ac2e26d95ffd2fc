"""The evaluate stage on real cache files: decisions and tracks in, rows and figures out."""

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.drawn_tracks import tracks_of
from support.jobs import make_job
from support.project import CONFIG

from stages import evaluate
from stages.core.config.loading import load_config, merge, parse_config
from stages.core.media import masks
from stages.core.run.cli import Job
from stages.core.state.cache import CacheError, Stamp, write_json
from stages.core.state.choices import Candidate, write_choices
from stages.core.state.graph import BUILD_TRACKS, EVALUATE, EXTRACT_FRAMES, RERANK_TRACKS, Layout
from stages.core.state.track_file import write_tracks
from stages.datasets import open_split
from stages.metrics.report import collect, summarise

H, W, T = 24, 32, 3
SIGMOID_1 = 1 / (1 + math.exp(-1))
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
    rles_NT = [list(map(masks.encode, masks_T)) for masks_T in tracks]
    record = tracks_of(tracks[0][0].shape, rles_NT, len(EXPRESSIONS), T)
    write_tracks(path, Stamp("build_tracks", BUILD_TRACKS.version, {}), record, rles_NT)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"paths: {{cache: {tmp_path / 'cache'}}}\ndatasets: {{mevis: {{root: {tmp_path / 'data'}}}}}\n")
    return make_job(load_config(CONFIG, overlay), "mevis", "valid_u")


@pytest.fixture
def layout(job: Job, tmp_path: Path) -> Layout:
    """A data set of one video, and the state that every stage before evaluate leaves."""
    write_videos(job, tmp_path, "v")
    return job.layout


def write_videos(job: Job, tmp_path: Path, *videos: str) -> None:
    split, names = tmp_path / "data/valid_u", [f"{t:05d}" for t in range(T)]
    for video in videos:
        (split / f"JPEGImages/{video}").mkdir(parents=True)
        for name in names:
            Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(split / f"JPEGImages/{video}/{name}.jpg")
        write_state(job.layout, video, names)
    index = {"videos": {video: {"frames": names, "expressions": EXPRESSIONS} for video in videos}}
    (split / "meta_expressions.json").write_text(json.dumps(index))
    (split / "mask_dict.json").write_text(json.dumps({"5": rles(LEFT, LEFT, LEFT), "6": rles(RIGHT, RIGHT, None)}))


def write_state(layout: Layout, video: str, names: list[str]) -> None:
    write_json(
        layout.file(EXTRACT_FRAMES, video),
        {"frames": names, "suffix": ".jpg", "size": [H, W], "timestamps": None, "digest": "d"},
        Stamp("extract_frames", EXTRACT_FRAMES.version, {}),
    )
    write_tracks_of(layout.file(BUILD_TRACKS, video, "grid"), [[LEFT] * T, [RIGHT] * T])
    write_tracks_of(layout.file(BUILD_TRACKS, video, "gdino"), [[RIGHT, NONE, NONE]])
    decide(layout, DECISIONS, video=video)


def decide(
    layout: Layout, decisions: dict[str, list[Candidate]], salt: int = 0, video: str = "v", **ingredients: str
) -> None:
    stamp = Stamp("rerank_tracks", RERANK_TRACKS.version, {"salt": salt, **ingredients})
    write_choices(layout.file(RERANK_TRACKS, video), stamp, decisions)


def summary_of(job: Job) -> dict[str, Any]:
    videos = open_split(job.config, job.dataset, job.split).videos()
    return summarise(collect(job.layout, videos), job.dataset, job.split)


def rows_of(job: Job) -> dict[str, dict[str, Any]]:
    evaluation = collect(job.layout, open_split(job.config, job.dataset, job.split).videos())
    return {row["expression"]: dict(row) for row in evaluation.rows}


def test_rows_of_a_video(job: Job, layout: Layout) -> None:
    evaluate.run(job)
    rows = rows_of(job)
    assert list(rows) == ["0", "1", "2", "10"]  # by id in the order of the index, not of text
    assert rows["0"] == {
        "video": "v", "expression": "0", "caption": "the left box", "group": "", "J": 1.0, "F": 1.0, "J&F": 1.0,
        "no_target": False, "predicted_empty": False, "missing": False, "confidence": pytest.approx(SIGMOID_1),
        "boundary_ratio": 0.008, "tracks": 1, "frames": T,
    }  # fmt: skip
    assert rows["1"]["J"] == pytest.approx((1 + 0.5 + 1) / 3) and rows["1"]["tracks"] == 2
    assert (rows["2"]["J&F"], rows["2"]["no_target"], rows["2"]["predicted_empty"]) == (1.0, True, True)
    assert rows["10"]["J"] == pytest.approx(1 / 3) and rows["10"]["F"] == pytest.approx(1 / 3)
    assert (rows["10"]["predicted_empty"], rows["10"]["tracks"]) == (True, 0)
    assert rows["10"]["confidence"] == 0
    figures = summary_of(job)["figures"]
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
    assert summary_of(job)["truth"] is False


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
    assert "masks are of size (24, 33)" in fails(job, caplog)


def test_tracks_of_another_size_are_an_error(job: Job, layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    write_tracks_of(layout.file(BUILD_TRACKS, "v", "gdino"), [[np.zeros((H + 1, W), bool)] * T])
    assert "video 'v', expression '1'" in fails(job, caplog)


def test_a_missing_prediction_counts_as_empty_and_is_listed(
    job: Job, layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    """What an import lacks; a decision that rerank_tracks lost is another matter."""
    decide(layout, {"0": DECISIONS["0"], "2": []}, imported="theirs")
    evaluate.run(job)
    assert "no prediction for expressions 1, 10: scored as empty" in caplog.text
    summary, rows = summary_of(job), rows_of(job)
    assert summary["missing"] == ["v/1", "v/10"] and summary["counts"]["missing"] == 2
    assert [rows[e]["J"] for e in ("0", "1", "2", "10")] == pytest.approx([1, 0, 1, 1 / 3])
    assert summary["figures"]["J"] == pytest.approx((1 + 0 + 1 + 1 / 3) / 4)  # it stays in the mean


def test_a_lost_decision_is_an_error(job: Job, layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    decide(layout, {"0": []})
    assert "no decision for expression '1'" in fails(job, caplog)


def test_a_decision_about_nothing_is_an_error(job: Job, layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    decide(layout, DECISIONS | {"7": []})
    assert "decides about expressions ['7']" in fails(job, caplog)
    with pytest.raises(CacheError, match="does not exist"):
        rows_of(job)


def test_a_damaged_evaluation_names_its_file(job: Job, layout: Layout) -> None:
    path = layout.file(EVALUATE, "v")
    stamp = Stamp("evaluate", EVALUATE.version, {})
    write_json(path, {"protocol": "mevis", "rows": [{"expression": "0"}], "extra": None}, stamp)
    with pytest.raises(CacheError, match=r"v\.json: lacks rows.*stages\.evaluate"):
        rows_of(job)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_no_byte(job: Job, layout: Layout, threads: int) -> None:
    evaluate.run(job)
    first = layout.file(EVALUATE, "v").read_bytes()
    settings = {"datasets": {"mevis": {"settings": {"run": {"threads": threads}}}}}
    document = merge(job.config.model_dump(), settings)
    evaluate.run(replace(job, config=parse_config(document), overwrite=True))
    assert layout.file(EVALUATE, "v").read_bytes() == first


def test_the_number_of_shards_changes_no_byte(job: Job, tmp_path: Path) -> None:
    videos = ("v", "w", "x")
    write_videos(job, tmp_path, *videos)
    decide(job.layout, DECISIONS | {"0": []}, video="w")
    evaluate.run(job)
    files = [job.layout.file(EVALUATE, video) for video in videos]
    first, figures = [file.read_bytes() for file in files], summary_of(job)
    assert first[0] == first[2] != first[1] and figures["counts"]["videos"] == 3
    for file in files:
        file.unlink()
    for pid in (1, 0):
        evaluate.run(replace(job, pid=pid, n_pids=2))
    assert [file.read_bytes() for file in files] == first and summary_of(job) == figures


@pytest.mark.parametrize(
    ("finals", "expected"),
    [([], 0.0), ([0.0], 0.5), ([-3.0, 2.0], 1 / (1 + math.exp(-2))), ([1000.0], 1.0), ([-1000.0], 0.0)],
)
def test_confidence(finals: list[float], expected: float) -> None:
    """The sigmoid of the chosen tracks' largest final score."""
    candidates = [Candidate("grid", i, 9.0, final=final, chosen=True) for i, final in enumerate(finals)]
    assert evaluate.confidence([*candidates, Candidate("grid", 9, 9.0, final=9.0)]) == pytest.approx(expected)


def test_missing_decisions_name_the_stage(job: Job, layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    layout.file(RERANK_TRACKS, "v").unlink()
    assert "stages.rerank_tracks" in fails(job, caplog)
