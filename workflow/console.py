"""What `snakemake` prints on the terminal: a line when a job starts, a line when it ends, and errors.

No setting that a Snakefile can make does this: --quiet hides progress and failures too, and a logger plugin needs a
flag or a profile. So the handler of Snakemake's own terminal output is replaced by a shorter one. Its log file below
.snakemake/log holds everything, as always, and so does the terminal with --verbose or another --logger.
"""

import json
import logging
import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from snakemake.logging import ColorizingTextHandler, DefaultFormatter, get_event, logger, show_logs
from snakemake_interface_executor_plugins.settings import ExecMode
from snakemake_interface_logger_plugins.common import LogEvent

from stages.core.config.loading import nearest
from stages.core.run.leader import explain_lock
from stages.core.run.progress import NOTES

HANDLER = "DefaultStreamHandler"
# What Snakemake says about itself.
CHATTER = (
    "Assuming unrestricted",
    "Using shell:",
    "Conda environments: ignored",
    "Select jobs to execute",
    "Touching output file",
    "Removing output files of failed job",
    "Exiting because a job execution failed",
    "Both 'sacctmgr' and 'sshare' returned empty results",
    "MinJobAge",
    "Elapsed time:",
)
SILENT = (LogEvent.WORKFLOW_STARTED, LogEvent.RESOURCES_INFO, LogEvent.JOB_STARTED)
NO_RULE = re.compile(r"No rule to produce (\S+)")
NO_INPUT = re.compile(r"Missing input files for rule (\w+):.*affected files:\s*(\S.*\S)\s*", re.DOTALL)
PLACE = ("dataset", "split", "pid", "n")


class ShortHandler(ColorizingTextHandler):
    """Writes a line per record, and nothing where its text is empty."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if text := self.format(record):
                self.stream.write(f"{self.decorate(record, text)}\n")
                self.flush()
        except BrokenPipeError:
            raise
        except Exception:
            self.handleError(record)


class ShortFormatter(DefaultFormatter):
    """One line per event of a job, and per mistake in the request.

    Args:
        show_failed_logs: print the log of a job that failed.
        unannounced: rules whose jobs are mentioned only when they fail.
        targets: what can be asked for.
        example: one of them.
        journal: what is told to who watches from outside.
    """

    def __init__(
        self,
        show_failed_logs: bool,
        unannounced: Collection[str],
        targets: Collection[str],
        example: str,
        journal: "Journal",
    ) -> None:
        super().__init__(None, show_failed_logs)
        self._journal = journal
        self._unannounced, self._targets, self._example = unannounced, targets, example
        self._jobs: dict[int, tuple[str, bool]] = {}  # id → title, and whether it was announced
        self._finished: list[str] = []

    def format(self, record: logging.LogRecord) -> str:
        event = get_event(record)
        if "Directory cannot be locked" in str(record.msg):
            return explain_lock()
        if event is None:
            text = str(record.msg or "")
            return "" if text.startswith(CHATTER) else text
        if event == LogEvent.ERROR:
            return self._format_mistake(str(record.msg))
        if event == LogEvent.RUN_INFO:
            self._journal.plan({rule: n for rule, n in record.__dict__["stats"].items() if rule != "total"})
        return "" if event in SILENT else super().format(record)

    def _format_mistake(self, text: str) -> str:
        if "CalledProcessError" in text:
            return ""  # the job's own error says it
        if text.startswith("Error: cores have to be specified"):
            return (
                f"error: say what to make and on how many cores, as `snakemake --cores 8 {self._example}`; "
                "`snakemake --cores 1` lists what can be made"
            )
        if absent := NO_INPUT.search(text):
            files = ", ".join(absent[2].split("\n")).replace("        ", "")
            return f"error: {files}: not there, and {absent[1]} needs it; put it there, or correct the config"
        missing = NO_RULE.search(text)
        return f"error: no target {missing[1]!r}{nearest(missing[1], self._targets)}" if missing else text

    def format_job_info(self, msg: dict[str, Any]) -> str:
        title, announced = title_of(msg["rule_name"], msg["wildcards"]), msg["rule_name"] not in self._unannounced
        self._jobs[msg["jobid"]] = title, announced
        self._journal.write(started=msg["jobid"], rule=msg["rule_name"], title=title)
        return _now(title) if announced else ""

    def format_job_finished(self, msg: dict[str, Any]) -> str:
        title, announced = self._jobs.pop(msg["job_id"], ("", False))
        self._finished += [title] if announced else []
        self._journal.write(finished=msg["job_id"])
        return ""

    def format_progress(self, msg: dict[str, Any]) -> str:
        finished, self._finished = self._finished, []
        return _now(f"{msg['done']} of {msg['total']} done: {', '.join(finished)}") if finished else ""

    def format_job_error(self, msg: dict[str, Any]) -> str:
        title, _ = self._jobs.pop(msg["jobid"], (msg["rule_name"], False))
        lines = [_now(f"FAILED: {title}; see {', '.join(msg['log'])}")]
        lines += [f"    {name}: {value}" for name, value in msg["aux"].items()]  # what a cluster reports about it
        return "\n".join([*lines, *(show_logs(msg["log"]) if self.show_failed_logs else ())])


class Journal:
    """What runs, as a JSON line per event in the folder that REFEREE_NOTES names (stages/own/bar.py reads it).

    Args:
        minutes: rule → what a job of it may take, by which jobs are weighed against each other.
    """

    def __init__(self, minutes: Mapping[str, float]) -> None:
        folder = os.environ.get(NOTES)
        self._path, self._minutes = Path(folder) / "jobs.jsonl" if folder else None, minutes

    def plan(self, counts: Mapping[str, int]) -> None:
        self.write(plan={rule: [n, self._minutes.get(rule, 0)] for rule, n in counts.items()})

    def write(self, **event: Any) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")


def title_of(rule: str, wildcards: Mapping[str, str]) -> str:
    """As "build_tracks grid mevis/valid_u 0-of-4"."""
    parts = [rule, *(value.removeprefix("-") for name, value in wildcards.items() if name not in PLACE)]
    parts += ["/".join(wildcards[name] for name in ("dataset", "split") if name in wildcards)]
    parts += [f"{wildcards['pid']}-of-{wildcards['n']}"] if "pid" in wildcards else []
    return " ".join(filter(None, parts))


def shorten(
    workflow: Any,
    unannounced: Collection[str],
    targets: Collection[str],
    example: str,
    needs: Mapping[str, tuple[float, float]],
) -> None:
    """Makes this run's terminal output short, unless it was asked to be verbose; see `ShortFormatter` and `Journal`.

    Args:
        needs: rule → memory in MB and minutes of one of its jobs.
    """
    journal = Journal({rule: minutes for rule, (_, minutes) in needs.items() if rule not in unannounced})
    if workflow.exec_mode != ExecMode.DEFAULT or workflow.output_settings.verbose:
        return
    for theirs in logger.handlers:
        if theirs.name == HANDLER and isinstance(theirs, ColorizingTextHandler):
            formatter = ShortFormatter(
                workflow.output_settings.show_failed_logs, unannounced, targets, example, journal
            )
            ours = ShortHandler(theirs.nocolor, theirs.stream, formatter)
            ours.filters = theirs.filters
            logger.removeHandler(theirs)
            logger.addHandler(ours)


def _now(text: str) -> str:
    return f"{time.strftime('%H:%M:%S')} {text}"
