"""Which process leads the run of this folder, and what a leader that was killed has left: its lock, and its jobs.

Snakemake's lock names nobody. So a run leaves a record beside it, which tells a run that is at work from one that was
killed. Jobs whose leader is dead go on until they are done: they harm nothing, because every file is written as a whole,
but they compute what the next run computes too.
"""

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

RECORD = Path(".snakemake/referee_run.json")
PROC = Path("/proc")
OUR_JOB = "REFEREE_CONFIG"  # in the environment of what a rule starts; a person's own command has no need of it


@dataclass(frozen=True)
class Leader:
    """The process that leads a run.

    Attributes:
        host: where it runs, or ran.
        pid: its number there.
        born: what tells it from a later process with its number: its start, in ticks since the machine's.
        slurm: the name of all of its jobs in Slurm; None elsewhere.
    """

    host: str
    pid: int
    born: int | None
    slurm: str | None = None

    @classmethod
    def this(cls, slurm: str | None = None) -> "Leader":
        return cls(platform.node(), os.getpid(), _born(os.getpid()), slurm)

    @property
    def is_here(self) -> bool:
        return self.host == platform.node()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; of another machine's process nobody here knows."""
        return self.is_here and _born(self.pid) is not None and _born(self.pid) == self.born


def record(leader: Leader) -> None:
    RECORD.parent.mkdir(exist_ok=True)
    temporary = RECORD.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(leader)), encoding="utf-8")
    temporary.replace(RECORD)


def recorded() -> Leader | None:
    """The leader of this folder's last run; None where there was none, or its record cannot be read."""
    try:
        return Leader(**json.loads(RECORD.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def explain_lock() -> str:
    """What to do about a folder that Snakemake has found locked."""
    leader = recorded()
    if leader is not None and leader.is_alive:
        return (
            f"error: a run is at work in {Path.cwd()}: process {leader.pid}. Wait for it, or stop it with "
            f"Ctrl-C or `kill -INT {leader.pid}`: what is finished stays"
        )
    if leader is not None and not leader.is_here:
        who = (
            f"a run on {leader.host}, process {leader.pid}, which cannot be seen from here: make sure that it has ended"
        )
    else:
        who = f"a run that was killed{'' if leader is None else f', process {leader.pid}'}"
    words = [
        f"error: {Path.cwd()} is locked by {who}. Nothing finished is lost: remove the lock with "
        "`referee run --unlock`, then give the same command again"
    ]
    return "\n".join([*words, *strays()])


def strays() -> list[str]:
    """A line for each job of this folder that runs on this machine without a leader."""
    return [
        f"still at work without its run: process {pid}, {command}; it harms nothing, but the next run may do its work "
        f"too: let it end, or stop it with `kill {pid}`"
        for pid, command in _stray_processes()
    ]


def _stray_processes() -> Iterator[tuple[int, str]]:
    """Stages that a rule has started in this folder, and that no Snakemake waits for."""
    here = Path.cwd().resolve()
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            ours = _is_stage(words) and f"{OUR_JOB}=".encode() in (entry / "environ").read_bytes()
            if ours and (entry / "cwd").resolve() == here and not _is_led(entry):
                yield int(entry.name), " ".join(words[1:])
        except (OSError, ValueError):  # not a process, gone meanwhile, or another user's
            continue


def _is_stage(words: list[str]) -> bool:
    return any(flag == "-m" and module.startswith("stages.") for flag, module in pairwise(words))


def _is_led(entry: Path) -> bool:
    """Whether one of a process' ancestors is Snakemake."""
    while entry.name != "1":
        parent = PROC / _stat(entry)[1]
        if not parent.is_dir():
            return False
        if b"snakemake" in (parent / "cmdline").read_bytes():
            return True
        entry = parent
    return False


def _born(pid: int) -> int | None:
    """When a process started, in ticks since the machine's start; None where there is none (or no /proc)."""
    try:
        return int(_stat(PROC / str(pid))[19])
    except (OSError, IndexError):
        return None


def _stat(entry: Path) -> list[str]:
    """The fields of /proc/<pid>/stat after the command's name, which may hold anything: state, parent, …"""
    return (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
