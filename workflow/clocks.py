"""Lets a job end whatever clocks say: Snakemake refuses one whose output is dated before an input, as it would do it again.

Here it would not: of markers the contents decide (workflow/unfinished.py), of a person's files too (`contents` in
workflow/rules/common.smk). A clock that ran ahead and was set back, or nodes that do not agree, leave files dated later than now.
"""

from typing import Any

from snakemake.dag import DAG


def ignore_clocks() -> None:
    """From now on no job fails for the times of its files."""

    async def accept(dag: Any, job: Any, outputs: Any) -> None:
        pass

    DAG.check_output_mtime = accept
