"""Runs the workflow for a request, up to the decisions: with a bar, until it ends or is told to, and says why it failed."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from stages.core.config.file import Config
from stages.core.run.progress import NOTES, Progress
from stages.core.run.snakemake_words import Option
from stages.core.run.starting import environment, with_profile
from stages.core.run.stopping import Terminated
from stages.core.state.failures import failed_videos
from stages.core.state.graph import RERANK_TRACKS, Layout
from stages.own import bar, request

LOG = "segment.log"


def answer(config: Config, over: Mapping[str, Any], progress: Progress, lock: int) -> None:
    """Runs the workflow up to the decisions.

    Args:
        lock: an open file that the workflow holds too.

    Raises:
        ValueError: it failed; says why.
    """
    layout = Layout.of(config, request.DATASET, request.SPLIT)
    log = layout.root / "logs" / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    root = Path(config.datasets[request.DATASET].root)
    request.forget_markers(layout, root, over)
    with tempfile.TemporaryDirectory(prefix="referee-") as folder, log.open("wb") as output:
        Path(folder, "config.yaml").write_text(yaml.safe_dump(dict(over), sort_keys=False, allow_unicode=True), "utf-8")
        process = subprocess.Popen(
            command(Path(folder, "config.yaml"), layout.verified(RERANK_TRACKS)),
            env=environment() | {NOTES: folder},
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
        )
        with stopping(process):
            status = bar.follow(process, Path(folder), progress)
    if status:
        raise ValueError(f"{reason_in(log)} (all of it: {log})")
    if not failed_videos(layout):
        request.remember(root, over)


@contextmanager
def stopping(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Inside, SIGTERM ends the workflow and its jobs, as Ctrl-C does, which a terminal sends to all of them; raises Terminated
    at the end."""
    stopped = []

    def stop(*_: object) -> None:
        stopped.append(process)
        with suppress(psutil.Error):
            jobs = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            for job in jobs:
                with suppress(psutil.Error):
                    if any(word.startswith("stages.") for word in job.cmdline()):
                        job.terminate()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    if stopped:
        raise Terminated


def command(config: Path, target: Path) -> list[str]:
    """Snakemake's command line. Its own lock would outlive a kill -9; `alone` holds one that does not."""
    flags = [
        word for option in with_profile([Option("--cores", ("--cores", "all"), ("all",))]) for word in option.words
    ]
    return [sys.executable, "-m", "snakemake", *flags, "--nolock", "--configfile", str(config), "--", str(target)]


def reason_in(log: Path) -> str:
    """The first error that a job of the workflow told."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = zip(lines, [*lines[1:], ""], strict=True)
    whole = [f"{line}{after if line.endswith(':') else ''}" for line, after in pairs]
    told = [line.removeprefix("error: ") for line in whole if line.startswith("error: ")]
    told += [line for line in whole if "Error" in line or "FAILED" in line]
    return told[0] if told else "the workflow failed"
