"""`referee segment` as a person runs it, on a drawn video with known masks: outputs, a second sentence, kill -9."""

import filecmp
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.project import ROOT
from support.shapes_scenes import line, scene, thing
from support.video_files import make_video
from support.workspace import LINKS

from stages.core.media import masks
from stages.worlds.shapes.clip import Clip, draw_clip

CIRCLE, SQUARE = "the red circle", "the blue square"
FRAMES = 6


def draw() -> Clip:
    """A red circle that goes right, a blue square that goes left."""
    circle = thing(line((30, 40), (4, 0), FRAMES), radius=16)
    square = thing(line((96, 90), (-4, 0), FRAMES), "square", radius=15, colour="blue")
    return draw_clip(np.random.default_rng(20), scene(circle, square))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames_THW3 = draw().frames_THW3
    place = tmp_path_factory.mktemp("videos")
    return make_video(
        place / "drawn.mp4", FRAMES, (128, 128), draw=lambda index, _: frames_THW3[index], pixels="yuv444p"
    )


def project(place: Path) -> Path:
    """A project folder in which nothing was made yet."""
    place.mkdir()
    for name in LINKS:
        (place / name).symlink_to(ROOT / name)
    return place


def start(place: Path, *words: object, **popen: object) -> subprocess.Popen[str]:
    own = ["--preset", "drawn", "--config", str(ROOT / "tests/configs/own.yaml"), "--out", str(place / "out")]
    command = [sys.executable, "-m", "stages", "segment", *map(str, words), *own]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return subprocess.Popen(command, cwd=place, **pipes | popen)  # type: ignore[call-overload]


def segment(place: Path, *words: object) -> subprocess.CompletedProcess[str]:
    process = start(place, *words)
    said, told = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, said, told)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run that nothing disturbed."""
    place = project(tmp_path_factory.mktemp("whole") / "project")
    return place, segment(place, clip, CIRCLE)


def state_of(place: Path) -> dict[str, tuple[int, int]]:
    """Every file of stages in the cache → inode and time of its last change."""
    root = place / "results/cache/own/all"
    files = [path for path in root.rglob("*") if path.is_file() and path.parts[len(root.parts)] not in NOT_STATE]
    return {str(p.relative_to(root)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


NOT_STATE = ("shards", "done", "logs", "errors", "runtime")


def same_files(left: Path, right: Path) -> None:
    names = sorted(str(p.relative_to(left)) for p in left.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(right)) for p in right.rglob("*") if p.is_file())
    _, different, errors = filecmp.cmpfiles(left, right, names, shallow=False)
    assert not different and not errors


def test_what_the_sentence_means_is_found_and_written(whole: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    place, done = whole
    assert done.returncode == 0, done.stderr
    found = place / "out/drawn"
    assert f'"{CIRCLE}": 1 object, frames 0–{FRAMES - 1}, score 0.' in done.stdout
    outputs = {path.name for path in found.iterdir() if not path.name.startswith(".")}
    assert {"the-red-circle.overlay.mp4", "the-red-circle.masks", "the-red-circle.sheet.jpg"} == outputs
    assert all(str(found / name) in done.stdout for name in outputs)
    pngs = sorted((found / "the-red-circle.masks/union").glob("*.png"))
    truth_THW = draw().masks_NTHW[0]
    ious = [
        masks.iou_matrix([masks.encode(np.asarray(Image.open(png)) > 0)], [masks.encode(truth_HW)])[0, 0]
        for png, truth_HW in zip(pngs, truth_THW, strict=True)
    ]
    assert min(ious) > 0.7


def test_one_bar_moves_for_the_whole_job_and_says_the_time_left(
    whole: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    lines = [line for line in whole[1].stderr.splitlines() if " segment: " in line]
    shares = [int(line.split(" segment: ")[1].partition("%")[0]) for line in lines]
    assert shares == sorted(shares) and len(set(shares)) > 3 and shares[-1] == 100
    assert any(line.endswith(" left") and "following objects" in line for line in lines)


def test_a_second_sentence_makes_its_own_part_alone(
    whole: tuple[Path, subprocess.CompletedProcess[str]], clip: Path
) -> None:
    place, _ = whole
    before, outputs = state_of(place), place / "out/drawn"
    kept = {path: path.stat().st_mtime_ns for path in outputs.rglob("*") if path.is_file()}
    done = segment(place, clip, SQUARE, "--format", "masks")
    assert done.returncode == 0 and f'"{SQUARE}": 1 object' in done.stdout, done.stderr
    after = state_of(place)
    assert {path: facts for path, facts in after.items() if path in before} == before
    assert all("the_blue_square" in path for path in after.keys() - before.keys())
    assert "0 of 1 videos to do" in (place / "results/cache/own/all/logs/extract_frames-0-of-1.log").read_text()
    ledger = outputs / ".referee-outputs.json"
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items() if path != ledger)
    assert (outputs / "the-blue-square.masks").is_dir()


def test_a_run_that_is_killed_at_any_moment_ends_in_the_same_files(
    whole: tuple[Path, subprocess.CompletedProcess[str]], clip: Path, tmp_path: Path
) -> None:
    """Once with everything that it started, once alone: then the next run waits for the workflow it left behind."""
    place = project(tmp_path / "project")
    moment = random.Random(16)
    for everything in (True, False):
        process = start(
            place, clip, CIRCLE, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_a_share(place, moment.random(), process)
        (os.killpg if everything else os.kill)(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    done = segment(place, clip, CIRCLE)
    assert done.returncode == 0, done.stderr
    for kind in ("masks/union", "overlay.mp4", "sheet.jpg"):
        ours, theirs = (folder / "out/drawn" / f"the-red-circle.{kind}" for folder in (place, whole[0]))
        if ours.is_file():
            assert ours.read_bytes() == theirs.read_bytes()
        else:
            same_files(ours, theirs)
    ours, theirs = (folder / "results/cache/own/all" for folder in (place, whole[0]))
    made = [name for name in state_of(place) if ".tmp" not in name]
    assert made and all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in made)


def wait_for_a_share(place: Path, share: float, process: subprocess.Popen[str]) -> None:
    """Until so many of a run's per-video files are there, and a moment longer."""
    wanted = 1 + int(share * 5)
    while process.poll() is None and len(state_of(place)) < FRAMES + wanted:
        time.sleep(0.02)
    time.sleep(share / 2)


def test_a_file_that_is_not_ours_is_not_replaced(
    whole: tuple[Path, subprocess.CompletedProcess[str]], clip: Path
) -> None:
    place, _ = whole
    foreign = place / "out/drawn/the-red-circle.matte.mp4"
    foreign.write_text("mine")
    done = segment(place, clip, CIRCLE, "--format", "matte")
    assert done.returncode == 2 and foreign.read_text() == "mine"
    assert str(foreign) in done.stderr.strip().splitlines()[-1]
    assert json.loads((place / "data/own/request.json").read_text())["videos"]
