"""A run that was killed with SIGKILL: the next one says why the folder is locked, names what still works, and goes on."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.workspace import make_workspace, snakemake

from stages.core.run.leader import RECORD, Leader, explain_lock, record, recorded, strays

FRAMES = "results/cache/tiny/valid/done/extract_frames.json"


def start_run(place: Path) -> subprocess.Popen[bytes]:
    """The workflow, until its first stage is at work, which is then made to wait."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", FRAMES, "--configfile", "tiny.yaml"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_stage(place: Path) -> int:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes()
                if words.startswith(b"python\0-m\0stages.extract_frames") and (entry / "cwd").resolve() == place:
                    os.kill(int(entry.name), signal.SIGSTOP)
                    return int(entry.name)
            except OSError:
                continue
        time.sleep(0.005)
    raise TimeoutError("no stage was started")


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[tuple[Path, int, int]]:
    """A workspace whose run was killed, the process that led it, and the stage that it left."""
    place = make_workspace(tmp_path)
    run = start_run(place)
    stage = wait_for_stage(place)
    run.kill()
    run.wait()
    yield place, run.pid, stage
    with suppress(ProcessLookupError):
        os.kill(stage, signal.SIGKILL)


def test_a_killed_run_is_explained_and_goes_on(killed: tuple[Path, int, int]) -> None:
    place, leader, stage = killed
    locked = snakemake(place, FRAMES)
    assert locked.returncode == 1
    text = " ".join(locked.stderr.split())
    assert f"is locked by a run that was killed, process {leader}" in text and "`referee run --unlock`" in text
    assert f"still at work without its run: process {stage}, -m stages.extract_frames" in text
    assert f"`kill {stage}`" in text and "Traceback" not in text
    assert snakemake(place, "--unlock").returncode == 0
    os.kill(stage, signal.SIGTERM)  # as it was told to; a stopped process ends once it goes on
    os.kill(stage, signal.SIGCONT)
    done = snakemake(place, FRAMES)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\d\d:\d\d:\d\d extract_frames tiny/valid 0-of-1", done.stderr, re.MULTILINE)
    assert json.loads((place / RECORD).read_text())["pid"] != leader


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_that_is_at_work_is_named(folder: Path) -> None:
    assert recorded() is None and "locked by a run that was killed. Nothing" in explain_lock()
    record(Leader.this("name-in-slurm"))
    assert recorded() == Leader.this("name-in-slurm")
    assert f"a run is at work in {folder}: process {os.getpid()}" in explain_lock()


def test_a_number_that_another_process_has_now_is_not_the_run(folder: Path) -> None:
    this = Leader.this()
    assert this.is_alive
    assert not Leader(this.host, this.pid, (this.born or 0) - 1).is_alive
    assert not Leader(this.host, 2**22 + 1, 5).is_alive


def test_a_run_elsewhere_is_left_to_who_can_see_it(folder: Path) -> None:
    record(Leader(f"other-{platform.node()}", os.getpid(), Leader.this().born))
    assert f"a run on other-{platform.node()}" in explain_lock() and "make sure that it has ended" in explain_lock()


def test_a_damaged_record_is_none(folder: Path) -> None:
    RECORD.parent.mkdir()
    for text in ("", "{", "[1]", '{"host": "h"}', "7"):
        RECORD.write_text(text)
        assert recorded() is None, text
    assert strays() == []
