"""`referee segment` as a person types it: the first line comes at once, and bad input ends in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import ROOT
from support.video_files import make_audio, make_video
from support.workspace import LINKS

from stages.own.running import reason_in


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A project folder in which nothing was made yet."""
    place = tmp_path / "project"
    place.mkdir()
    for name in LINKS:
        (place / name).symlink_to(ROOT / name)
    return place


def test_the_first_line_comes_before_anything_heavy_is_read() -> None:
    program = (
        "import sys; from stages.tools import segment; segment.say = lambda text: sys.exit(text + str("
        "sorted({'torch', 'snakemake', 'transformers', 'av', 'scipy'} & set(sys.modules)))); segment.main(['a', 'b'])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.strip() == "looking at what is asked for[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.mp4", "the dog"], "nowhere.mp4: no such file or folder"),
        (["song.m4a", "the dog"], "holds no video stream (it has: audio)"),
        (["clip.mp4", " "], "sentence 1: ' ' has no caption; write what to look for"),
        (["clip.mp4"], "no sentence is given"),
        (["clip.mp4", "the dog", "--start", "3", "--end", "2"], "--start 3 is not before --end 2"),
        (["clip.mp4", "the dog", "--format", "overlai"], "did you mean 'overlay'"),
        (["cut.mp4", "the dog"], "cut.mp4: "),
        ([".", "the dog", "--out", "clip.mp4"], "is a file, so"),
    ],
)
def test_bad_input_ends_in_one_sentence(empty: Path, words: list[str], message: str) -> None:
    make_video(empty / "clip.mp4", 3)
    make_audio(empty / "song.m4a")
    (empty / "cut.mp4").write_bytes((empty / "clip.mp4").read_bytes()[:200])
    command = [sys.executable, "-m", "stages", "segment", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=empty, capture_output=True, text=True, env=environment)
    *before, last = done.stderr.strip().splitlines()
    assert done.returncode == 2 and last.startswith("error: ") and message in last
    assert len(before) == 1 and not (empty / "results/cache/own").exists()


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("error: [Errno 28] no space left on /data for /data/a.h5; free some", "[Errno 28] no space left on /data for /data/a.h5; free some"),
        ("error: config.yaml:\n  selector.nam: unknown key", "config.yaml:  selector.nam: unknown key"),
        ("WorkflowError:\nAt least one job did not complete", "WorkflowError:At least one job did not complete"),
        ("nothing", "03:01:03 FAILED: build_tracks own/all"),
    ],
)  # fmt: skip
def test_why_the_workflow_failed_reaches_the_person(tmp_path: Path, told: str, reason: str) -> None:
    (tmp_path / "log").write_text(f"03:01:02 build_tracks own/all\n{told}\n03:01:03 FAILED: build_tracks own/all\n")
    assert reason_in(tmp_path / "log") == reason
