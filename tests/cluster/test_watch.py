"""The plugin for Slurm forgets jobs when a question goes unanswered; under `Watch` it does not.

The plugin is the real one. Commands that answer as a test wants stand in for Slurm's; the real ones: test_slurm.py.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from throttler import Throttler

from workflow.slurm import UNSEEN, Watch

plugin = pytest.importorskip("snakemake_executor_plugin_slurm", reason="the plugin for Slurm is not installed")


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What squeue answers is in this file; without the file, it fails."""
    file = tmp_path / "answer"
    commands = {"squeue": f"cat {file} | if test $# -lt 6; then cat; else cut -d'|' -f1; fi; test -f {file}"}
    commands |= {"scontrol": "echo 'MinJobAge = 300 sec'", "sacct": "echo 'accounting is disabled' >&2; exit 1"}
    for name, words in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{words}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return file


@pytest.fixture
def executor() -> Any:
    """The plugin's, as far as it asks about jobs; `ended` holds what it reports."""
    made = plugin.Executor.__new__(plugin.Executor)
    settings = plugin.ExecutorSettings(status_command="squeue", status_attempts=2)
    made.workflow = SimpleNamespace(executor_settings=settings, remote_execution_settings=SimpleNamespace())
    made.logger, made.run_uuid, made._preemption_warning = logging.getLogger("test"), "run", False
    made.status_rate_limiter = Throttler(rate_limit=1000, period=1)
    made._status_query_calls = made._status_query_failures = 0
    made._status_query_total_seconds = made._status_query_max_seconds = 0.0
    made._status_query_min_seconds, made._status_query_cycle_rows = None, []
    made._next_seconds_between_status_checks = 1000
    made.ended = {}
    made.report_job_success = lambda job: made.ended.update({job.external_jobid: "done"})
    made.report_job_error = lambda job, msg="", **_: made.ended.update({job.external_jobid: msg})
    return made


def jobs(*ids: str) -> list[Any]:
    return [SimpleNamespace(external_jobid=each, aux={"slurm_logfile": Path("none.log")}) for each in ids]


def ask(executor: Any, active: Sequence[Any]) -> list[Any]:
    async def turn() -> list[Any]:
        return [job async for job in executor.check_active_jobs(active)]

    return asyncio.run(turn())


def test_the_plugin_forgets_jobs_when_squeue_does_not_answer(executor: Any, answers: Path) -> None:
    """Where this fails, the plugin has been fixed, and `Watch` may go."""
    assert ask(executor, jobs("1", "2")) == [] and executor.ended == {}


def test_a_question_without_an_answer_forgets_no_job(executor: Any, answers: Path) -> None:
    Watch(executor, 100)
    active = jobs("1", "2_1", "2_2")
    for _ in range(2 * UNSEEN):
        assert ask(executor, active) == active and executor.ended == {}
    answers.write_text("1|RUNNING\n2_1|COMPLETED\n2_2|FAILED\n")
    assert [job.external_jobid for job in ask(executor, active)] == ["1"]
    assert executor.ended["2_1"] == "done" and "FAILED" in executor.ended["2_2"]


def test_a_preempted_job_is_waited_for(executor: Any, answers: Path) -> None:
    Watch(executor, 100)
    active = jobs("1", "2")
    for state in ("PREEMPTED", "PREEMPTED", "PENDING", "REQUEUED", "COMPLETING"):
        answers.write_text(f"1|{state}\n2|{state}\n")
        assert ask(executor, active) == active and executor.ended == {}, state


def test_a_job_that_slurm_has_forgotten_goes_on_anew(executor: Any, answers: Path) -> None:
    Watch(executor, 100)
    active = jobs("1", "2")
    answers.write_text("1|RUNNING\n")
    for _ in range(UNSEEN - 1):
        assert ask(executor, active) == active
    assert ask(executor, active) == active[:1]
    assert list(executor.ended) == ["2"] and "no longer knows job 2" in executor.ended["2"]


def test_an_end_is_asked_for_before_squeue_forgets_it(executor: Any, answers: Path) -> None:
    answers.write_text("1|RUNNING\n")
    Watch(executor, 20)
    ask(executor, jobs("1"))
    assert executor.next_seconds_between_status_checks == 20


def test_where_sacct_is_asked_squeue_need_not_know(executor: Any, answers: Path) -> None:
    """sacct fails here for a while, which ends no job however long it takes."""
    executor.workflow.executor_settings.status_command = "sacct"
    Watch(executor, None)
    for _ in range(2 * UNSEEN):
        assert len(ask(executor, jobs("1"))) == 1 and executor.ended == {}
