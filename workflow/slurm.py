"""Looks after Snakemake's plugin for Slurm, so that no run stands still without a word.

Two things about snakemake-executor-plugin-slurm 2.8, both seen on a real Slurm 22.05:

- It asks sacct wherever that is installed, also where accounting is off and sacct knows no jobs.
- A question that Slurm leaves unanswered makes it forget every job that was asked about; so does its fall-back to
  sacct for a turn in which `scontrol show config` is slow. The run then waits for jobs that nobody asks about.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from stages.core.run.slurm import Facts, gpus_of, how_ends_are_seen, read_facts, too_much

PATIENCE = 60.0  # seconds that a busy controller may take to answer
UNSEEN = 3  # turns in which squeue does not know a job, until it counts as ended


def prepare(workflow: Any, executor: Any) -> None:
    """Chooses how ends of jobs are seen, keeps jobs from being forgotten, and refuses what Slurm would refuse.

    Raises:
        WorkflowError: says what in the profile, or about the cluster, must change.
    """
    try:
        facts = read_facts()
        command, why = how_ends_are_seen(facts, workflow.executor_settings.status_command)
    except ValueError as error:
        raise WorkflowError(f"error: {error}") from error
    refuse_too_much(workflow, facts)
    if why:
        logger.info(f"Slurm: {why}")
    settings = workflow.executor_settings
    settings.status_command = command
    longest = facts.min_job_age // 3 if command == "squeue" else None
    if longest is not None:
        settings.init_seconds_before_status_checks = min(settings.init_seconds_before_status_checks, longest)
    Watch(executor, longest)


class Watch:
    """Takes over an executor's turns of asking about jobs: none is forgotten.

    Args:
        longest: seconds from one turn to the next at most, so that squeue still knows of every end in between; None
            where sacct is asked, which forgets nothing.
    """

    def __init__(self, executor: Any, longest: int | None) -> None:
        self._executor, self._longest = executor, longest
        self._check, self._succeed, self._fail = (
            executor.check_active_jobs,
            executor.report_job_success,
            executor.report_job_error,
        )
        self._ended: set[str] = set()
        self._unseen: dict[str, int] = {}
        executor.check_active_jobs = self.check
        executor.report_job_success, executor.report_job_error = self._success, self._error

    def _success(self, job: Any) -> None:
        self._ended.add(job.external_jobid)
        self._succeed(job)

    def _error(self, job: Any, *arguments: Any, **named: Any) -> None:
        self._ended.add(job.external_jobid)
        self._fail(job, *arguments, **named)

    async def check(self, active: Sequence[Any]) -> AsyncIterator[Any]:
        """Yields the jobs that have not ended: those of the plugin, and those that it would forget."""
        self._ended.clear()
        async for _ in self._check(active):
            pass
        going_on = [job for job in active if job.external_jobid not in self._ended]
        lost = set() if self._longest is None else await self._lost(going_on)
        for job in going_on:
            if job.external_jobid in lost:
                words = (
                    f"Slurm no longer knows job {job.external_jobid}, and how it ended was not seen; it goes on anew"
                )
                self._fail(job, msg=words)
            else:
                yield job
        if self._longest is not None:
            pause = self._executor.next_seconds_between_status_checks
            self._executor.next_seconds_between_status_checks = min(pause, self._longest)

    async def _lost(self, jobs: Iterable[Any]) -> set[str]:
        """The jobs that squeue has not known for some turns."""
        known = await asyncio.to_thread(_known, self._executor.run_uuid)
        if known is None:
            return set()
        asked = [job.external_jobid for job in jobs]
        self._unseen = {job: self._unseen.get(job, 0) + 1 for job in asked if job not in known}
        return {job for job, turns in self._unseen.items() if turns >= UNSEEN}


def refuse_too_much(workflow: Any, facts: Facts) -> None:
    """Raises WorkflowError where a job asks for more than its partition can give, or for a partition that is not there."""
    problems: dict[str, None] = {}
    seen = set()
    for job in workflow.dag.needrun_jobs():
        if job.rule.name in seen or job.is_local:
            continue
        seen.add(job.rule.name)
        problems |= dict.fromkeys(_problems(job, facts))
    if problems:
        raise WorkflowError(
            "error: Slurm would refuse these jobs:\n  "
            + "\n  ".join(problems)
            + "\nSet what fits in the profile, as `set-resources: build_tracks: {mem_mb: 24000}`; see docs/cluster.md"
        )


def _problems(job: Any, facts: Facts) -> list[str]:
    own = job.resources
    name = own.get("slurm_partition") or facts.default
    if name is None:
        return ["no partition: set slurm_partition under default-resources"]
    names = [each for each in str(name).split(",") if each in facts.partitions]
    if not names:
        return [f"partition {name}: there is none of this name; there are {', '.join(sorted(facts.partitions))}"]
    wish = {what: own[what] for what in ("mem_mb", "runtime") if isinstance(own.get(what), int)}
    wish |= {"gpu": own.get("gpu") or gpus_of(own.get("gres") or ""), "threads": job.threads}
    found = [too_much(job.rule.name, f"partition {each}", facts.partitions[each], wish) for each in names]
    return [] if [] in found else found[0]


def _known(name: str) -> set[str] | None:
    """The ids of a run's jobs that squeue knows, ended or not; None where it does not answer."""
    asked = ["squeue", "--noheader", "--array", "--states=all", "--format=%i", "--name", name]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split())
