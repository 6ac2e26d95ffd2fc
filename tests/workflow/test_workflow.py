"""The whole pipeline through Snakemake on a small tree in MeViS layout, and what happens when it is disturbed.

One real run of every stage serves all tests of this file; each test disturbs a copy of its state.
"""

import csv
import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file
from support.tiny_mevis import SIZE
from support.workspace import jobs_of, make_workspace, overlay, snakemake

from benchmarks.browser import address, open_browser, why_not

VALID_U, VALID = "results/tiny/valid_u", "results/tiny/valid"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which results/tiny/valid_u and results/tiny/valid were made by the workflow."""
    place = make_workspace(tmp_path_factory.mktemp("workspace"))
    add_a_sentence_without_a_word(place / "data/tiny/valid/meta_expressions.json")
    done = snakemake(place, VALID_U, VALID)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-20000:]
    return place


WORDLESS = ("video0", "9")


def add_a_sentence_without_a_word(index: Path) -> None:
    document = json.loads(index.read_text())
    video, expression = WORDLESS
    document["videos"][video]["expressions"][expression] = {"exp": "\u200b???"}
    index.write_text(json.dumps(document))


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of its state to disturb. Inodes and times tell afterwards what was made again."""
    place = tmp_path / "copy"
    shutil.copytree(finished, place, symlinks=True)
    yield place
    shutil.rmtree(place)


def frames_of(place: Path, split: str) -> dict[str, tuple[list[str], list[str]]]:
    index = json.loads((place / "data/tiny" / split / "meta_expressions.json").read_text())["videos"]
    return {video: (entry["frames"], list(entry["expressions"])) for video, entry in index.items()}


# ---------------------------------------------------------------- the deliverable


@pytest.mark.parametrize("split", ["valid_u", "valid"])
def test_the_submission_is_exact(finished: Path, split: str) -> None:
    expected = {
        f"{v}/{e}/{f}.png" for v, (frames, ids) in frames_of(finished, split).items() for f in frames for e in ids
    }
    results = finished / "results/tiny" / split
    with zipfile.ZipFile(results / "submission.zip") as archive:
        assert sorted(archive.namelist()) == sorted(expected)
        for name in archive.namelist():
            with archive.open(name) as handle, Image.open(handle) as image:
                assert (image.mode, image.size) == ("L", SIZE[::-1])
                assert set(np.unique(image)) <= {0, 255}
    assert {str(p.relative_to(results / "predictions")) for p in (results / "predictions").rglob("*.png")} == expected


def test_a_sentence_without_a_word_is_answered_with_nothing_and_named(finished: Path) -> None:
    video, expression = WORDLESS
    frames, expressions = frames_of(finished, "valid")[video]
    assert expression in expressions and len(expressions) > 1
    with zipfile.ZipFile(finished / VALID / "submission.zip") as archive:
        for frame in frames:
            with archive.open(f"{video}/{expression}/{frame}.png") as handle, Image.open(handle) as image:
                assert not np.asarray(image).any()
    said = "".join(
        path.read_text() for path in (finished / "results/cache/tiny/valid/logs").glob("extract_frames*.log")
    )
    assert f"video '{video}', expression '{expression}': has no word ('\\u200b???')" in said


def test_scores_and_provenance(finished: Path) -> None:
    results = finished / VALID_U
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["truth"] is True
    with (results / "per_expression.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == sum(len(ids) for _, ids in frames_of(finished, "valid_u").values())
    provenance = json.loads((results / "provenance.json").read_text())
    assert set(provenance["weights"]) == {"sam2", "grounding_dino", "text", "mllm"}
    assert set(provenance["tasks"]["build_tracks-grid"]) == set(frames_of(finished, "valid_u"))
    assert yaml.safe_load((results / "config.yaml").read_text())["selector"]["training"]["epochs"] == 2
    assert json.loads((finished / VALID / "metrics.json").read_text())["truth"] is False


def test_overlays_play(finished: Path) -> None:
    for video, (frames, ids) in frames_of(finished, "valid_u").items():
        for expression in ids:
            with av.open(str(finished / VALID_U / "overlays" / video / f"{expression}.mp4")) as container:
                assert sum(1 for _ in container.decode(video=0)) == len(frames)


# ---------------------------------------------------------------- what runs again


def test_a_finished_target_has_nothing_to_do(finished: Path) -> None:
    assert jobs_of(snakemake(finished, "-n", VALID_U, VALID)) == {}


def test_another_number_of_shards_recomputes_nothing(workspace: Path) -> None:
    before = state_of(workspace)
    config = overlay(workspace, "two.yaml", {"run": {"n_pids": 2}})
    jobs = jobs_of(snakemake(workspace, "results/tiny/valid", config=config))
    assert jobs["build_tracks"] >= 6
    made_again = {path for path, facts in state_of(workspace).items() if before.get(path) != facts}
    assert made_again == set()


DECIDED = {"rerank_tracks", "evaluate", "render_predictions", "collect", "assemble"}


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        ("render", {"opacity": 0.2}, {"render_predictions", "collect", "assemble"}),
        ("evaluate", {"boundary_ratio": 0.02}, {"evaluate", "collect", "assemble"}),
        ("rerank", {"weights": {"judge": 0.5}}, DECIDED),
        ("selector", {"threshold": 0.3}, DECIDED),
        ("evidence", {"judge": {"frame_side": 48}}, {"gather_evidence", *DECIDED}),
        ("run", {"batches": {"questions": 3}}, set()),
        (
            "text",
            {"max_tokens": 9},
            {
                "encode_text",
                "train_selector",
                "score_tracks",
                "gather_evidence",
                *DECIDED,
            },
        ),
    ],
)
def test_a_changed_section_reruns_what_reads_it(
    workspace: Path, section: str, values: dict[str, object], expected: set[str]
) -> None:
    config = overlay(workspace, "changed.yaml", {section: values})
    assert set(jobs_of(snakemake(workspace, "-n", VALID_U, config=config))) == expected


@pytest.mark.parametrize("file", ["JPEGImages/video0/00005.jpg", "mask_dict.json", "meta_expressions.json"])
def test_a_file_of_the_data_set_that_is_replaced_in_place_is_seen(workspace: Path, file: str) -> None:
    config = overlay(workspace, "own.yaml", {}, root=str(workspace / "data/tiny"))
    assert jobs_of(snakemake(workspace, "-n", VALID_U, config=config)) == {}
    path = workspace / "data/tiny/valid_u" / file
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    jobs = jobs_of(snakemake(workspace, "-n", VALID_U, config=config))
    assert {"extract_frames", "encode_text", "build_tracks", "evaluate", "assemble"} <= set(jobs)


def test_a_selector_that_another_one_is_moved_over_is_seen(workspace: Path) -> None:
    """A file that is moved keeps its time, which is before that of the scores."""
    given, target = workspace / "given.safetensors", "results/cache/tiny/valid_u/done/score_tracks.json"
    shutil.copy(next((workspace / "results/cache/tiny/train").rglob("best.safetensors")), given)
    choice = {"weights": str(given), "train": None, "validate_on": None}
    config = overlay(workspace, "given.yaml", {}, selector=choice)
    done = snakemake(workspace, target, config=config)
    assert done.returncode == 0, done.stderr
    assert jobs_of(snakemake(workspace, "-n", target, config=config)) == {}
    with safe_open(given, "np") as file:
        tensors, metadata = {name: file.get_tensor(name) + 1 for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors, given, metadata)
    os.utime(given, (86_400, 86_400))
    assert jobs_of(snakemake(workspace, "-n", target, config=config)) == {"score_tracks": 1, "collect": 1}


def test_tracks_follow_a_frame_of_another_content(workspace: Path) -> None:
    config = overlay(workspace, "own.yaml", {}, root=str(workspace / "data/tiny"))
    frames = sorted((workspace / "data/tiny/valid_u/JPEGImages/video0").iterdir())
    frames[1].write_bytes(frames[2].read_bytes())
    before = state_of(workspace)
    done = snakemake(workspace, "results/cache/tiny/valid_u/done/build_tracks-grid.json", config=config)
    assert done.returncode == 0, done.stderr
    after = state_of(workspace)
    again = {path for path in after if after[path] != before.get(path) and "tracks/grid" in path}
    assert {Path(path).name for path in again} == {"video0.h5"}


def test_what_follows_a_job_that_ended_badly_is_not_passed_over(workspace: Path) -> None:
    """Though the marker of an earlier run stands behind it, and its own is as new as can be."""
    verified, shard = (f"results/cache/tiny/valid/{place}" for place in (FRAMES_DONE, "shards/extract_frames/0-of-1"))
    config = overlay(workspace, "changed.yaml", {"frames": {"jpeg_quality": 70}})
    in_the_way = workspace / "results/cache/tiny/valid/frames/video0.json"
    in_the_way.unlink()
    (in_the_way / "inside").mkdir(parents=True)
    failed = snakemake(workspace, verified, config=config)
    assert failed.returncode != 0 and (workspace / verified).exists()
    assert "clear it" in (workspace / "results/cache/tiny/valid/logs/extract_frames-0-of-1.log").read_text()
    shutil.rmtree(in_the_way)
    assert jobs_of(snakemake(workspace, "-n", verified, config=config)) == {"extract_frames": 1, "collect": 1}
    done = snakemake(workspace, shard, config=config)  # as if the run had been killed after it
    assert done.returncode == 0, done.stderr
    assert jobs_of(snakemake(workspace, "-n", verified, config=config)) == {"collect": 1}


FRAMES_DONE = "done/extract_frames.json"


def test_a_thousand_shards_are_planned(workspace: Path) -> None:
    config = overlay(workspace, "many.yaml", {"run": {"n_pids": 250}})
    assert jobs_of(snakemake(workspace, "-n", VALID_U, config=config))["build_tracks"] == 4 * 250


def test_the_report_is_a_target_is_part_of_snakemakes_own_and_opens_in_a_browser(workspace: Path) -> None:
    """Pages in full: tests/report. Here the judge is a real model, and what it was asked is drawn again."""
    target = "results/report/tiny/valid_u"
    assert jobs_of(snakemake(workspace, target)) == {"report": 1}
    assert jobs_of(snakemake(workspace, "-n", target)) == {}
    assert "not in the report" not in (workspace / "results/cache/tiny/valid_u/logs/report.log").read_text()
    done = snakemake(workspace, "--report=report.zip", VALID_U, target)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    with zipfile.ZipFile(workspace / "report.zip") as archive:
        archive.extractall(workspace / "unpacked")
    (page,) = (workspace / "unpacked").rglob("report.html")
    for file in ("metrics.json", "per_expression.csv", "overlays/video1/0.mp4", "report"):
        assert f'"labels": {{"file": "{file}"}}' in page.read_text()
    (site,) = (path.parent for path in page.parent.rglob("expressions.html"))
    assert files_below(site) == files_below(workspace / target)
    if reason := why_not():
        pytest.skip(reason)
    with open_browser() as watched:
        for name in ("index.html", "expressions.html", "videos/video0.html"):
            watched.page.goto(address(site, name))
        watched.page.wait_for_selector("html[data-ready^=expression]")
        questions = watched.page.evaluate("() => Object.keys(window.referee.video.asked.questions).length")
    assert questions and watched.complaints == []


def test_a_report_of_earlier_results_is_made_again_whatever_clocks_say(workspace: Path) -> None:
    target, made = "results/report/tiny/valid_u", workspace / "results/cache/tiny/valid_u/done/assemble.json"
    assert jobs_of(snakemake(workspace, target)) == {"report": 1}
    assert jobs_of(snakemake(workspace, "-n", target)) == {}
    made.write_text('{"made": "later"}')
    os.utime(made, (86_400, 86_400))
    assert jobs_of(snakemake(workspace, "-n", target)) == {"report": 1}


def files_below(folder: Path) -> dict[str, bytes]:
    """Path → content of all but hidden files."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_comparison_stands_beside_the_results(workspace: Path) -> None:
    """One job more, and the pipeline's own decisions get the figures of its metrics.json."""
    asked = {"selectors": ["own=pipeline", "decided=decisions"], "seeds": [0], "thresholds": ["config"]}
    config = overlay(workspace, "compare.yaml", {"compare": asked})
    assert jobs_of(snakemake(workspace, "results/compare/tiny/valid_u", config=config)) == {"compare": 1}
    with (workspace / "results/compare/tiny/valid_u/table.csv").open() as handle:
        rows = {row["method"]: row for row in csv.DictReader(handle)}
    metrics = json.loads((workspace / VALID_U / "metrics.json").read_text())
    assert float(rows["decided"]["J&F"]) == metrics["figures"]["J&F"]
    assert max(float(row["J&F"]) for row in rows.values()) == float(rows["oracle"]["J&F"])


# ---------------------------------------------------------------- kill -9

SHARDED = [
    ("extract_frames", "frames", []),
    ("generate_prompts", "prompts/gt", ["--source", "gt"]),
    ("generate_prompts", "prompts/grid", ["--source", "grid"]),
    ("generate_prompts", "prompts/gdino", ["--source", "gdino"]),
    ("build_tracks", "tracks/grid", ["--source", "grid"]),
    ("build_tracks", "tracks/gdino", ["--source", "gdino"]),
    ("encode_text", "text", []),
    ("score_tracks", "scores", []),
    ("gather_evidence", "evidence/judge", ["--name", "judge"]),
    ("rerank_tracks", "decisions", []),
    ("evaluate", "evaluation", []),
    ("render_predictions", "render", []),
]


NOT_STATE = {"shards", "done", "logs", "errors", "runtime"}


def state_of(place: Path) -> dict[str, tuple[int, int]]:
    """Every per-video file of the cache → inode and time of its last change."""
    folder = place / "results/cache/tiny"
    found = [p for p in folder.rglob("*") if p.is_file() and not NOT_STATE & set(p.parts)]
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}


def start(place: Path, stage: str, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"stages.{stage}", "--config", "config.yaml", "--config", "tiny.yaml"]
    command += ["--dataset", "tiny", "--split", "valid_u", *flags]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_after_first_video(job: subprocess.Popen[bytes], folder: Path, pattern: str) -> None:
    """SIGKILL as soon as one video's file is there; a stage that was quicker has simply finished."""
    while job.poll() is None:
        if any(not path.name.startswith(".") for path in folder.rglob(pattern)):
            job.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    job.communicate()


def same_files(left: Path, right: Path) -> None:
    names = sorted(str(p.relative_to(left)) for p in left.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(right)) for p in right.rglob("*") if p.is_file())
    _, different, errors = filecmp.cmpfiles(left, right, names, shallow=False)
    assert not different and not errors


@pytest.mark.parametrize(("stage", "folder", "flags"), SHARDED, ids=[folder for _, folder, _ in SHARDED])
def test_a_killed_stage_goes_on_where_it_stopped(
    finished: Path, workspace: Path, stage: str, folder: str, flags: list[str]
) -> None:
    suffix = ".h5" if folder.split("/")[0] in ("prompts", "tracks", "text") else ".json"
    place = workspace / "results/cache/tiny/valid_u" / folder
    if "gt" in flags:  # made for the train split only: an uninterrupted run is the reference
        assert start(finished, stage, *flags).wait() == 0
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    kill_after_first_video(start(workspace, stage, *flags), place, f"*{suffix}")
    survived = {
        p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in place.rglob(f"*{suffix}") if not p.name.startswith(".")
    }
    assert survived
    job = start(workspace, stage, *flags)
    _, log = job.communicate()
    assert job.returncode == 0, log.decode()
    assert f"{3 - len(survived)} of 3 videos to do" in log.decode()
    assert all((p.stat().st_ino, p.stat().st_mtime_ns) == facts for p, facts in survived.items())
    same_files(finished / "results/cache/tiny/valid_u" / folder, place)


# ---------------------------------------------------------------- bad input


def test_a_broken_video_fails_alone_and_is_listed(workspace: Path) -> None:
    overlay(workspace, "tiny.yaml", {}, root=str(workspace / "data" / "tiny"))
    frame = next((workspace / "data/tiny/valid_u/JPEGImages/video1").glob("*.jpg"))
    frame.write_bytes(frame.read_bytes()[:300])
    shutil.rmtree(workspace / "results/cache/tiny/valid_u/frames")
    job = start(workspace, "extract_frames")
    _, log = job.communicate()
    assert job.returncode == 1
    assert "1 of 3 videos failed" in log.decode() and frame.name in log.decode()
    assert len(list((workspace / "results/cache/tiny/valid_u/frames").glob("video?.json"))) == 2
    done = snakemake(workspace, VALID_U, "--forcerun", "extract_frames")
    assert done.returncode != 0 and "extract_frames" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "tyni"], "did you mean 'tiny'"),
        (["--split", "vali_u"], "did you mean 'valid_u'"),
        (["--pid", "3", "--n-pids", "2"], "--pid 3"),
    ],
)
def test_wrong_arguments_are_explained(finished: Path, flags: list[str], message: str) -> None:
    job = start(finished, "evaluate", *flags)
    _, log = job.communicate()
    assert job.returncode == 2 and message in log.decode()


def test_a_track_file_cut_short_is_made_again(workspace: Path, finished: Path) -> None:
    place = workspace / "results/cache/tiny/valid_u/tracks/grid"
    damaged = sorted(place.glob("*.h5"))[0]
    damaged.write_bytes(damaged.read_bytes()[:700])
    job = start(workspace, "score_tracks", "--overwrite")
    _, log = job.communicate()
    assert job.returncode == 1 and "python -m stages.build_tracks" in log.decode()
    job = start(workspace, "build_tracks", "--source", "grid")
    _, log = job.communicate()
    assert job.returncode == 0 and "1 of 3 videos to do" in log.decode()
    same_files(finished / "results/cache/tiny/valid_u/tracks/grid", place)


def test_a_results_folder_in_the_way_is_named(workspace: Path) -> None:
    """Root writes anywhere, so a file stands where the folder of results should be made."""
    shutil.rmtree(workspace / "results/tiny")
    (workspace / "results/tiny").write_text("in the way")
    job = start(workspace, "assemble")
    _, log = job.communicate()
    assert job.returncode == 2 and "paths.results" in log.decode()
