"""What assemble checks before it hands over, and what it says of answers that are empty, failed or left out."""

import json
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.answers import answer, config_files, job_of, squares, tiny_split
from support.drawn_tracks import tracks_of
from support.tiny_mevis import SIZE, write_tree

from stages import assemble, evaluate, render_predictions
from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.core.run.cli import Job
from stages.core.state.cache import CacheError, Stamp, read_json, read_stamp, write_json
from stages.core.state.choices import Candidate, read_choices, write_choices
from stages.core.state.graph import BUILD_TRACKS, EVALUATE, RENDER_PREDICTIONS, RERANK_TRACKS
from stages.core.state.track_file import read_masks, write_tracks
from stages.core.state.vouched import vouch

AVERAGE = {"kind": "average", "drop_invalid": True, "min_mass": 0.5, "weights": "equal"}
FIRST = "video0/predictions/0/00000.png"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """The tiny split with an answer to everything, evaluated and rendered."""
    job = job_of(tiny_split(tmp_path), "tiny", "valid_u")
    answer(job)
    evaluate.run(job)
    render_predictions.run(job)
    return job


def results(job: Job) -> Path:
    return Path(job.config.paths.results) / "tiny" / "valid_u"


def metrics(job: Job) -> dict:
    return json.loads((results(job) / "metrics.json").read_text())


# ---------------------------------------------------------------- what is rendered


def emptied(content: bytes) -> bytes:
    return b""


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


def changed(content: bytes) -> bytes:
    return content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]


@pytest.mark.parametrize("damage", [emptied, halved, changed])
def test_a_damaged_png_reaches_no_results(job: Job, damage) -> None:
    path = job.layout.folder(RENDER_PREDICTIONS) / FIRST
    content = path.read_bytes()
    path.write_bytes(damage(content))
    with pytest.raises(CacheError, match=r"00000\.png is not what was written there; run `.*render_predictions` on"):
        assemble.run(job)
    assert not results(job).exists()
    render_predictions.run(job)  # as the message says
    assemble.run(job)
    assert (results(job) / "predictions/video0/0/00000.png").read_bytes() == content


def test_a_damaged_overlay_reaches_no_results(tmp_path: Path) -> None:
    write_tree(tmp_path / "data")
    flags = config_files(tmp_path, {"datasets": {"tiny": {"root": str(tmp_path / "data")}}})
    job = job_of(flags, "tiny", "valid_u")
    answer(job)
    evaluate.run(job)
    render_predictions.run(job)
    path = next(job.layout.folder(RENDER_PREDICTIONS).rglob("*.mp4"))
    path.write_bytes(halved(path.read_bytes()))
    with pytest.raises(CacheError, match=r"\.mp4 is not what was written there"):
        assemble.run(job)


def test_the_zip_is_checked_as_any_submission(job: Job) -> None:
    """A file that its record vouches for, and that no server would take."""
    record, stage = job.layout.file(RENDER_PREDICTIONS, "video0"), RENDER_PREDICTIONS
    document, stamp = read_json(record, stage.name, stage.version), read_stamp(record, stage.name)
    path = job.layout.folder(stage) / FIRST
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(path)
    document["files"][FIRST.removeprefix("video0/")] = vouch(path.read_bytes())
    payload = {key: value for key, value in document.items() if key not in ("stamp", "history", "content_digest")}
    write_json(record, payload, stamp)
    with pytest.raises(CacheError, match=r"submission\.zip: 1 defects, as values: video0/0/00000\.png: holds values 7"):
        assemble.run(job)
    assert not results(job).exists()


def test_masks_of_the_cache_are_checked_as_foreign_ones(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    """What pycocotools would fill from memory that was never set."""
    path = job.layout.file(BUILD_TRACKS, "video1", "grid")
    rles_NT = read_masks(path, range(4))
    rles_NT[2][1] = {"size": SIZE, "counts": masks.encode(np.zeros((SIZE[0], SIZE[1] - 1), bool))["counts"]}
    stamp = Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {"x": 1})
    write_tracks(path, stamp, tracks_of(SIZE, rles_NT, 4, len(rles_NT[0])), rles_NT)
    with pytest.raises(
        CacheError, match=r"video1\.h5: damaged \(ValueError: RLE of size .*3024 pixels instead of 3072"
    ):
        read_masks(path, [2])
    job.layout.file(EVALUATE, "video1").unlink()
    job.layout.file(RENDER_PREDICTIONS, "video1").unlink()
    for stage in (evaluate, render_predictions):
        with pytest.raises(SystemExit):
            stage.run(job)
    assert caplog.text.count("video video1 failed") == 2 and "instead of 3072" in caplog.text


# ---------------------------------------------------------------- one line


def test_a_run_without_any_trouble_says_so(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assemble.run(job)
    assert caplog.records[-1].message.endswith("3 videos, 12 expressions: every one has an answer")
    found = metrics(job)
    assert found["empty"] == found["failed"] == {} and found["left_out"] == []


def sometimes(video: Video, expression: Expression, index: int, size: tuple[int, int]) -> np.ndarray:
    return squares(video, expression, index, size) & (expression.id != "3")


def test_empty_failed_and_left_out_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flags = tiny_split(tmp_path)
    index = tmp_path / "data/valid_u/meta_expressions.json"
    document = json.loads(index.read_text())
    document["videos"]["video2"]["expressions"]["9"] = {"exp": "???", "anno_id": [], "obj_id": []}
    index.write_text(json.dumps(document))
    job = job_of(flags, "tiny", "valid_u")
    answer(job, sometimes)
    decisions = job.layout.file(RERANK_TRACKS, "video0")
    choices = dict(read_choices(decisions, RERANK_TRACKS))
    choices["0"] = [Candidate("grid", 0, -1.0, final=-1.0), Candidate("grid", 1, -2.0, final=-2.0)]
    write_choices(decisions, read_stamp(decisions, RERANK_TRACKS.name), choices, threshold=0.5)
    job.layout.file(BUILD_TRACKS, "video1", "grid").write_bytes(b"no HDF5")
    for stage in (evaluate, render_predictions):
        with pytest.raises(SystemExit):
            stage.run(job)
    with caplog.at_level(logging.INFO):
        assemble.run(job)
    found, words = metrics(job), caplog.records[-1].message
    assert found["summary"] in words and caplog.records[-1].levelno == logging.WARNING
    assert found["summary"].startswith(
        "3 videos, 9 expressions: 3 answered with nothing (video0/0: No object was chosen"
    )
    assert (
        "(best score 0.27 below 0.50)" in words
        and "1 video failed (video1: " in words
        and "video1.h5: damaged" in words
    )
    assert "1 left out (" in words and "'9'" in words
    assert found["empty"]["video0/3"] == "The chosen object is not visible in any frame" and set(found["failed"]) == {
        "video1"
    }
    assert not (results(job) / "submission.zip").exists() and not (results(job) / "predictions/video1").exists()


def test_a_video_that_was_not_worked_on_is_an_error(job: Job) -> None:
    job.layout.file(EVALUATE, "video1").unlink()
    with pytest.raises(CacheError, match=r"evaluation/video1\.json: does not exist; run `"):
        assemble.run(job)


def test_without_any_video_there_are_no_results(job: Job) -> None:
    for video in ("video0", "video1", "video2"):
        job.layout.file(EVALUATE, video).unlink()
        write_json(job.layout.errors(EVALUATE) / f"{video}.json", {"video": video, "error": "why", "traceback": ""})
    with pytest.raises(ValueError, match="all 3 videos failed; the first: why"):
        assemble.run(job)
    assert not results(job).exists()


def test_the_zip_holds_every_video(job: Job) -> None:
    assemble.run(job)
    with zipfile.ZipFile(results(job) / "submission.zip") as archive:
        assert len(archive.namelist()) == 60


def test_what_other_targets_have_made_by_then_is_no_part_of_results(job: Job) -> None:
    """A run that is to make a comparison too may assemble before or after that has its tracks and evidence."""
    assemble.run(job)
    alone = (results(job) / "provenance.json").read_bytes()
    for task in ("build_tracks-gt", "gather_evidence-other"):
        marker = job.layout.root / "done" / f"{task}.json"
        marker.parent.mkdir(exist_ok=True)
        marker.write_text(json.dumps({"videos": {"video0": "1"}}))
    assemble.run(job)
    assert (results(job) / "provenance.json").read_bytes() == alone


def test_results_rest_on_what_decided(tmp_path: Path) -> None:
    settings = {
        "selector": {"sources": {"evaluate": ["grid"]}},
        "evidence": {"mean": {**AVERAGE, "of": ["judge", "detector"]}},
        "rerank": {"evidence": ["mean"], "weights": {"mean": 1.0}},
    }
    flags = config_files(tmp_path, {"datasets": {"tiny": {"settings": settings}}})
    work = assemble.work_behind(job_of(flags, "tiny", "valid_u").config, "tiny")
    assert {stage.task(branch) for stage, branch in work if branch} == {
        *("generate_prompts-grid", "build_tracks-grid", "generate_prompts-gdino"),
        *("gather_evidence-mean", "gather_evidence-judge", "gather_evidence-detector"),
    }
