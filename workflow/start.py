"""What a run does before its first job: it says who leads it, names what an earlier run left, and looks at its cluster."""

import subprocess
from typing import Any

from snakemake.logging import logger

from stages.core.run.leader import Leader, record, recorded, strays
from workflow.slurm import prepare


def start(workflow: Any) -> None:
    """Raises WorkflowError where jobs could not be submitted, or their ends not be seen."""
    executor = workflow.scheduler._executor
    slurm = executor.run_uuid if workflow.executor_plugin.name == "slurm" else None
    earlier = recorded()
    for line in [*strays(), *(_jobs_of(earlier.slurm) if earlier is not None and earlier.slurm else [])]:
        logger.warning(f"warning: {line}")
    if slurm is not None:
        prepare(workflow, executor)
    record(Leader.this(slurm))


def _jobs_of(name: str) -> list[str]:
    """A line where Slurm has jobs of an earlier run."""
    asked = ["squeue", "--noheader", "--array", "--format=%i", "--name", name]
    try:
        jobs = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []
    if not jobs:
        return []
    some = ", ".join(jobs[:5]) + (f" and {len(jobs) - 5} more" if len(jobs) > 5 else "")
    return [
        f"jobs of the run before are still in Slurm's queue: {some}; they harm nothing, but this run may do their work too: "
        f"let them end, or stop them with `scancel --name {name}`"
    ]
