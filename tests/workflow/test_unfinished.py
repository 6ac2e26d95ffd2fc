"""What Snakemake would pass over, or refuse: on a chain of three jobs, each of which writes down what it read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import ROOT

SNAKEFILE = """
from workflow.clocks import ignore_clocks
from workflow.unfinished import redo_unfinished
redo_unfinished()
ignore_clocks()
for number in (1, 2, 3):
    rule:
        name: f"job{number}"
        input: f"{number - 1}.txt"
        output: f"{number}.txt"
        log: f"{number}.log"
        benchmark: f"{number}.jsonl"
        params: number
        shell: "(test ! -e fail{params[0]} && cat {input} > {output}) 2>&1 | tee {log}"
"""


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "0.txt").write_text("first")
    assert plan(tmp_path, "--cores", "1") == {"job1", "job2", "job3"}
    assert (tmp_path / "3.txt").read_text() == "first"
    return tmp_path


def plan(place: Path, *words: str) -> set[str]:
    """The jobs that run, or would run."""
    command = [sys.executable, "-m", "snakemake", *(words or ("-n",)), "3.txt"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, env=environment)
    return {name for name in ("job1", "job2", "job3") if f"rule {name}:" in done.stderr + done.stdout}


def test_nothing_is_left_to_do(chain: Path) -> None:
    assert plan(chain) == set()
    (chain / "2.txt").unlink()
    assert plan(chain) == set(), "a person has removed what is not needed"


def test_a_job_that_failed_is_done_by_the_next_run(chain: Path) -> None:
    (chain / "0.txt").write_text("second")
    (chain / "fail1").touch()
    assert plan(chain, "--cores", "1") == {"job1"}
    assert not (chain / "1.txt").exists() and (chain / "3.txt").read_text() == "first"
    (chain / "fail1").unlink()
    assert plan(chain) == {"job1", "job2", "job3"}
    plan(chain, "--cores", "1")
    assert (chain / "3.txt").read_text() == "second" and plan(chain) == set()


@pytest.mark.parametrize("seconds", [86_400, 4_102_444_800], ids=["past", "future"])
def test_contents_decide_whatever_a_clock_says(chain: Path, seconds: int) -> None:
    """A run was killed after its first job, and a clock was wrong."""
    os.utime(chain / "3.txt", (seconds, seconds))
    assert plan(chain) == set()
    (chain / "1.txt").write_text("second")
    os.utime(chain / "1.txt", (86_400, 86_400))
    assert plan(chain) == {"job2", "job3"}


@pytest.mark.parametrize("file", ["0.txt", "1.txt"], ids=["a person's file", "a marker"])
def test_a_job_may_read_what_is_dated_later_than_now(chain: Path, file: str) -> None:
    (chain / file).write_text("second")
    os.utime(chain / file, (4_102_444_800, 4_102_444_800))
    plan(chain, "--cores", "1")
    assert (chain / "3.txt").read_text() == "second"
    assert plan(chain) == set()
