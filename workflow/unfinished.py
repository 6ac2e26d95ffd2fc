"""Makes Snakemake do again what it would pass over: jobs that began and did not end well, and what is older than it seems.

Snakemake asks for a missing file only where nothing that follows from it is there, and compares contents only where times
say that an input is newer. So a job that failed, or was killed, is taken for done while the markers of an earlier run stand
behind it; and so is all that follows from a job that a clock set back has dated before them.
"""

from typing import Any

from snakemake.dag import DAG


def redo_unfinished() -> None:
    """From now on each plan also has these jobs; those of a plan that asks for nothing of them stay out of it."""
    plan = DAG.update_needrun

    async def plan_with_unfinished(dag: Any, *arguments: Any, **options: Any) -> None:
        for job in dag.jobs:
            is_made = all([await file.exists() for file in job.output])
            if await (_is_outdated(dag, job) if is_made else _is_unfinished(job)):
                dag.forcefiles.update(job.output)
        await plan(dag, *arguments, **options)

    DAG.update_needrun = plan_with_unfinished


async def _is_unfinished(job: Any) -> bool:
    """Whether the last that is known of a job without its output is that it began.

    A job's log is written first and its benchmark after it has ended well, so what a person has deleted is not meant.
    """
    if job.benchmark is None or not job.log or not await job.log[0].exists():
        return False
    log, benchmark = job.log[0], job.benchmark
    return (
        not await benchmark.exists()
        or (await benchmark.mtime()).local_or_storage() < (await log.mtime()).local_or_storage()
    )


async def _is_outdated(dag: Any, job: Any) -> bool:
    """Whether an input has another content than when the job ended; as far as that was recorded, which it is for small files."""
    persistence, limit = dag.workflow.persistence, dag.max_checksum_file_size
    for file in job.input:
        recorded = persistence.input_checksums(job, file) - {None}
        eligible = len(recorded) == 1 and await file.is_checksum_eligible(limit)
        if eligible and not await file.is_same_checksum(next(iter(recorded)), limit):
            return True
    return False
