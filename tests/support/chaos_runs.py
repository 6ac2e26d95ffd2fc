"""Runs of commands that can be killed at any moment: forked from a process that has imported what they import.

A command costs seconds to import and tenths of a second to run on a tiny data set; forked, only the latter.
"""

import importlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

# What Python says before it changes a file or a folder (the events of `sys.addaudithook`).
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.utime", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR
POLL_SECONDS = 0.002
told_to_end: list[bool] = []


@dataclass(frozen=True)
class Command:
    """A module with a `main`, and its words."""

    module: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kill:
    """A signal after some seconds, or before the n-th change of a file: the latter hits every gap between two of them."""

    signal: signal.Signals
    seconds: float | None = None
    change: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: by that signal), what it said, and how long it took."""

    status: int
    said: str
    seconds: float
    cpu_seconds: float = 0.0
    changes: int = 0
    modules: tuple[str, ...] = ()
    hung: bool = False

    @property
    def line(self) -> str:
        lines = [line for line in self.said.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def warm(modules: Sequence[str]) -> None:
    """Imports what commands import, as far as it is there; the process stays single-threaded, so that it can fork."""
    for name in modules:
        with suppress(Exception):
            importlib.import_module(name)
    threads = len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").is_dir() else 1
    assert threads == 1, f"{threads} threads: a fork of this process may stand still; set OMP_NUM_THREADS=1"


def run(command: Command, place: Path, kill: Kill | None = None, limit: float = 120.0, before: Any = None) -> Ended:
    """Runs a command in a process of its own.

    Args:
        place: a folder for what it says.
        kill: ends it.
        limit: seconds after which it counts as hung, and is killed.
        before: is called in the process first.
    """
    return wait(start(command, place, kill, before), kill, limit)


@dataclass(frozen=True)
class Running:
    pid: int
    folder: Path
    began: float


def end_early(*_: object) -> None:
    """Answers a signal to this program. Raised while Python forks, it would be ignored: so the next run raises again."""
    told_to_end.append(True)
    raise KeyboardInterrupt


def start(command: Command, place: Path, kill: Kill | None = None, before: Callable[[], None] | None = None) -> Running:
    if told_to_end:
        raise KeyboardInterrupt
    folder = place / f"run-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(command, folder, kill, before)
    return Running(pid, folder, began)


def wait(running: Running, kill: Kill | None = None, limit: float = 120.0) -> Ended:
    """How it ended; ended itself while it waits, it takes the process along."""
    try:
        return _wait(running, kill, limit)
    except KeyboardInterrupt:
        _end(running)
        raise


def _wait(running: Running, kill: Kill | None, limit: float) -> Ended:
    sent = hung = False
    while True:
        pid, status, usage = os.wait4(running.pid, os.WNOHANG)
        seconds = time.monotonic() - running.began
        if pid:
            break
        if kill is not None and kill.seconds is not None and not sent and seconds >= kill.seconds:
            os.kill(running.pid, kill.signal)
            sent = True
        if seconds > limit:
            _end(running)
            hung = True
        time.sleep(POLL_SECONDS)
    texts = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in running.folder.iterdir()}
    shutil.rmtree(running.folder)
    # Both are written at the end: a kill may come in the middle of that.
    changes, modules = int(texts.get("changes") or 0), tuple(texts.get("modules", "").split())
    cpu = usage.ru_utime + usage.ru_stime
    return Ended(os.waitstatus_to_exitcode(status), texts.get("said", ""), seconds, cpu, changes, modules, hung)


def _end(running: Running) -> None:
    """The process, and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)


def _child(command: Command, folder: Path, kill: Kill | None, before: Callable[[], None] | None) -> NoReturn:
    status = 70
    os.setpgid(0, 0)
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT, 0o644)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        if before is not None:
            before()
        counted = _count_changes(kill)
        status = _main(command)
        (folder / "changes").write_text(str(counted[0]))
        (folder / "modules").write_text("\n".join(sorted(sys.modules)))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _main(command: Command) -> int:
    sys.argv = [f"referee {command.module.rpartition('.')[2]}", *command.words]
    try:
        status = importlib.import_module(command.module).main(list(command.words))
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:  # before it is answered in stages.core.run.cli: as stages/__main__.py does
        status = 130
    return int(status or 0)


def _count_changes(kill: Kill | None) -> list[int]:
    counted = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            flags = arguments[2]
            if not isinstance(flags, int) or not flags & WRITING:
                return
        elif event not in CHANGES:
            return
        counted[0] += 1
        if kill is not None and kill.change == counted[0]:
            os.kill(os.getpid(), kill.signal)

    sys.addaudithook(hook)
    return counted


def tell(kind: str, **facts: Any) -> None:
    """A line of what was seen, for the test that started this program."""
    print(json.dumps({"kind": kind, **facts}), flush=True)
