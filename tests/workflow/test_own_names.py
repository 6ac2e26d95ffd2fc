"""Names of one's own files, whatever they are, do not reach Snakemake; what is missing is told by a dry run too."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.video_files import make_video
from support.workspace import jobs_of, make_workspace, snakemake

NAMES = ["clip{1}", "{wildcards.pid}", "holiday (1)", "100% sure", "[x] y", "a'b", "semi;colon", "dollar$HOME", "-dash"]
FRAMES = "results/cache/clips/all/done/extract_frames.json"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    place = make_workspace(tmp_path / "project")
    root = tmp_path / "own clips {1}"
    root.mkdir()
    make_video(root / "first.mp4", 2)
    for name in NAMES:
        shutil.copy(root / "first.mp4", root / f"{name}.mp4")
    (root / "notes {of mine}.txt").write_text("{")
    (root / "expressions.json").write_text(json.dumps({name: ["the box"] for name in NAMES}))
    selector = {"weights": "stages/micro/weights/selector/best.safetensors", "train": None, "validate_on": None}
    clips = {"models": "micro", "root": str(root), "selector": selector}
    (place / "clips.yaml").write_text(yaml.safe_dump({"datasets": {"clips": clips}}))
    return place


def test_names_of_all_kinds_get_through(place: Path) -> None:
    done = snakemake(place, FRAMES, config="clips.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((place / "results/cache/clips/all/frames").glob("*.json"))) == len(NAMES)
    assert jobs_of(snakemake(place, "-n", FRAMES, config="clips.yaml")) == {}
    clip = place.parent / "own clips {1}" / f"{NAMES[0]}.mp4"
    make_video(clip, 3)
    jobs = jobs_of(snakemake(place, "-n", FRAMES, config="clips.yaml"))
    assert set(jobs) == {"extract_frames", "collect"}


def test_a_dry_run_tells_what_is_missing(place: Path) -> None:
    shutil.rmtree(place.parent / "own clips {1}")
    done = snakemake(place, "-n", "results/clips/all", config="clips.yaml")
    assert "warning: the data set 'clips' is not there yet: " in done.stderr + done.stdout
    raw = yaml.safe_load((place / "clips.yaml").read_text())
    raw["datasets"]["clips"]["selector"]["weights"] = "nowhere/best.safetensors"
    (place / "clips.yaml").write_text(yaml.safe_dump(raw))
    done = snakemake(place, "-n", "results/clips/all", config="clips.yaml")
    last = [line for line in (done.stdout + done.stderr).splitlines() if line][-1]
    assert done.returncode == 1
    assert last.startswith("error: nowhere/best.safetensors: not there, and score_tracks needs it")
