"""SIGTERM ends the workflow of a request and its jobs, and nothing beside them."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from stages.core.run.stopping import Terminated
from stages.own.running import stopping

# A workflow that ends when its jobs have; the second of them is none of the project's.
WORKFLOW = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: None)
wait = "import sys; print('up', flush=True); sys.stdin.read()"
jobs = [subprocess.Popen([sys.executable, "-c", wait, name], stdin=subprocess.PIPE) for name in ("stages.build_tracks", "tee")]
jobs[0].wait()
print(jobs[0].returncode, jobs[1].poll(), flush=True)
jobs[1].communicate()
"""


def test_jobs_are_told_too_and_may_end_by_themselves() -> None:
    process = subprocess.Popen([sys.executable, "-c", WORKFLOW], stdout=subprocess.PIPE)
    assert process.stdout is not None
    before, others = signal.getsignal(signal.SIGTERM), {*psutil.Process().children()} - {psutil.Process(process.pid)}
    with pytest.raises(Terminated), stopping(process):
        assert [process.stdout.readline() for _ in range(2)] == [b"up\n"] * 2
        os.kill(os.getpid(), signal.SIGTERM)
        said = process.stdout.readline().decode().split()
        assert said == [str(-signal.SIGTERM), "None"] and process.wait() == 0
    assert signal.getsignal(signal.SIGTERM) == before and {*psutil.Process().children()} <= others


def test_what_is_not_told_ends_as_it_does() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with stopping(process):
        assert process.wait() == 3
