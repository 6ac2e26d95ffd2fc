"""The whole pipeline through a real Slurm: jobs cancelled, requeued, preempted, the head killed; every file as on one machine.

Minutes long, and root's business: `make test-slurm`. Elsewhere it is skipped, and says why.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.finished import FRAMES, TARGET, assert_same, finish, workspace
from support.slurm import Slurm, lacking, one_node
from support.workspace import snakemake

ASKED = "REFEREE_TEST_SLURM" in os.environ
WHY_NOT = lacking() if ASKED else "the tests on a real Slurm take minutes: make test-slurm"
pytestmark = [pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(3600)]

# The head looks at its jobs as often as it may; the profiles are patient.
QUICK = ("--latency-wait", "20")
OFTEN = ("--slurm-init-seconds-before-status-checks", "3")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    # Ends are forgotten soon, so that the head asks often.
    with one_node(tmp_path_factory.mktemp("slurm"), min_job_age=45) as running:
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tmp_path_factory.mktemp("local"))


def run(place: Path, slurm: Slurm, profile: str, target: str, *flags: str) -> subprocess.Popen[str]:
    """The head of a run; what it says is in <place>/head.log."""
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", f"workflow/profiles/{profile}", *QUICK, *flags]
    command += OFTEN if profile.startswith("slurm") else ()
    paths = f"{Path(sys.executable).parent}:{slurm.environment['PATH']}"
    environment = slurm.environment | {"PATH": paths, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (place / "head.log").open("a") as log:
        return subprocess.Popen(
            [*command, "--configfile", "tiny.yaml", "--", target],
            cwd=place, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


def wait_for_job(slurm: Slurm, head: subprocess.Popen[str], rule: str) -> str:
    """The id of a job of a rule, once it runs."""
    while head.poll() is None:
        for job, comment in slurm.jobs("running").items():
            if comment.startswith(f"rule_{rule}"):
                return job
        time.sleep(0.5)
    raise AssertionError(f"the run ended before a job of {rule} ran")


def wait(slurm: Slurm, head: subprocess.Popen[str], place: Path) -> str:
    """What the head of a run said, once it has ended well. Requeued jobs, which Slurm holds back for two minutes, are let go."""
    while head.poll() is None:
        held = slurm.ask("squeue", "--noheader", "--array", "--states=pending", "--format=%i|%r").splitlines()
        for job in (row.split("|")[0] for row in held if row.endswith("|BeginTime")):
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], env=slurm.environment, check=False)
        time.sleep(2)
    text = (place / "head.log").read_text()
    assert head.returncode == 0, text[-10000:]
    return text


def test_a_run_whose_jobs_are_cancelled_and_requeued(tmp_path: Path, slurm: Slurm, local: Path) -> None:
    place = workspace(tmp_path, weights=local / "weights")
    with counted(slurm, "slurm"):
        head = run(place, slurm, "slurm", TARGET)
        cancelled = wait_for_job(slurm, head, "generate_prompts")
        slurm.ask("scancel", cancelled)
        requeued = wait_for_job(slurm, head, "build_tracks")
        slurm.ask("scontrol", "requeue", requeued)
        text = wait(slurm, head, place)
    assert "accounting is off here" in text and f"external_jobid: {cancelled}" in text
    assert re.search(r"Group job rerank", text), "short shards wait in the queue together"
    assert_same(place, local)


def test_a_run_whose_jobs_are_killed_and_preempted(tmp_path: Path, slurm: Slurm, local: Path) -> None:
    """A job of a partition that goes first takes the node: all others get SIGTERM, then SIGKILL, and go back into the queue."""
    place = workspace(tmp_path, weights=local / "weights")
    with counted(slurm, "slurm-gres"):
        head = run(place, slurm, "slurm-gres", TARGET)
        slurm.ask("scancel", "--full", "--signal=KILL", wait_for_job(slurm, head, "generate_prompts"))
        wait_for_job(slurm, head, "build_tracks")
        urgent = [
            "sbatch",
            "--parsable",
            "--partition=urgent",
            "--ntasks=4",
            "--mem=1000",
            f"--output={tmp_path}/urgent",
        ]
        number = slurm.ask(*urgent, "--wrap", "sleep 2")
        while slurm.ask("squeue", "--noheader", "--states=all", f"--jobs={number}", "--format=%T") != "COMPLETED":
            time.sleep(0.5)
        requeued = slurm.ask("squeue", "--noheader", "--array", "--states=pending", "--format=%i|%r")
        assert "BeginTime" in requeued, "jobs that were ended wait in the queue again"
        wait(slurm, head, place)
    assert_same(place, local)


@contextmanager
def counted(slurm: Slurm, what: str) -> Iterator[None]:
    """Prints how many jobs of Slurm something took, and seconds."""
    first, started = slurm.next_job, time.monotonic()
    yield
    print(f"{what}: {slurm.next_job - first} jobs, {time.monotonic() - started:.0f} s")


def test_a_head_that_is_killed_leaves_jobs_that_the_next_one_names(tmp_path: Path, slurm: Slurm) -> None:
    place = workspace(tmp_path)
    with slurm.starting_nothing():  # its jobs wait until they have been named
        head = run(place, slurm, "slurm", FRAMES)
        while not slurm.jobs("running", "pending"):
            assert head.poll() is None, (place / "head.log").read_text()
            time.sleep(0.2)
        head.kill()
        head.wait()
        again = run(place, slurm, "slurm", FRAMES)
        assert again.wait() == 1
        text = (place / "head.log").read_text()
        assert f"locked by a run that was killed, process {head.pid}" in text and "`referee run --unlock`" in text
        assert snakemake(place, "--unlock", cores=1).returncode == 0
        name = json.loads((place / ".snakemake/referee_run.json").read_text())["slurm"]
        last = run(place, slurm, "slurm", FRAMES)
        while f"`scancel --name {name}`" not in (place / "head.log").read_text():
            assert last.poll() is None, (place / "head.log").read_text()
            time.sleep(0.5)
    wait(slurm, last, place)
    assert (place / FRAMES).is_file()


def test_jobs_that_no_node_can_run_are_named_before_the_first_one(tmp_path: Path, slurm: Slurm) -> None:
    place = workspace(tmp_path)
    flags = ["--set-resources", "extract_frames:mem_mb=900000"]
    head = run(place, slurm, "slurm", FRAMES, *flags)
    assert head.wait() == 1
    text = (place / "head.log").read_text()
    assert "extract_frames asks for mem_mb=900000, and no node of partition gpu gives more than 200000" in text
    assert "Traceback" not in text and not slurm.jobs("running", "pending")


def test_any_submit_command_serves(tmp_path: Path, slurm: Slurm, local: Path) -> None:
    place = workspace(tmp_path, weights=local / "weights")
    with counted(slurm, "generic"):
        head = run(place, slurm, "generic", TARGET, "--jobs", "2")
        wait(slurm, head, place)
    assert_same(place, local)


def test_ctrl_c_takes_the_jobs_along(tmp_path: Path, slurm: Slurm) -> None:
    place = workspace(tmp_path)
    head = run(place, slurm, "slurm", FRAMES)
    wait_for_job(slurm, head, "extract_frames")
    head.send_signal(signal.SIGINT)
    assert head.wait() != 0
    end = time.monotonic() + 60
    while slurm.jobs("running", "pending") and time.monotonic() < end:
        time.sleep(0.5)
    assert not slurm.jobs("running", "pending")
