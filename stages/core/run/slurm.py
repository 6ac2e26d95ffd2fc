"""What a Slurm says of itself: what decides whether its jobs can be submitted, and whether their ends can be seen."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
PATIENCE = 60.0  # seconds that a busy controller may take to answer
LEAST_AGE = 15  # seconds; an end must be seen within a third of this, and a question takes its time too


@dataclass(frozen=True)
class Partition:
    """The most that one job can get in a partition.

    Attributes:
        memory: MB, of the node that has most.
        cpus: of the node that has most.
        gpus: of the node that has most.
        minutes: of a job's time; None = without limit.
    """

    memory: int
    cpus: int
    gpus: int
    minutes: int | None


@dataclass(frozen=True)
class Facts:
    """A cluster.

    Attributes:
        accounting: whether sacct knows about jobs.
        min_job_age: seconds for which squeue knows a job that has ended.
        partitions: by name.
        default: the partition of a job that names none; None where there is no default.
    """

    accounting: bool
    min_job_age: int
    partitions: Mapping[str, Partition]
    default: str | None


def read_facts() -> Facts:
    """Asks the Slurm of this machine.

    Raises:
        ValueError: there is none, or it does not answer.
    """
    if missing := [command for command in COMMANDS if shutil.which(command) is None]:
        raise ValueError(f"{', '.join(missing)}: no such command; start this on a login node of the cluster")
    config = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", _ask("scontrol", "show", "config"), re.MULTILINE))
    rows = [row.split("|") for row in _ask("sinfo", "-h", "-N", "-o", "%P|%m|%c|%G|%l").splitlines()]
    nodes: dict[str, list[Partition]] = {}
    for name, memory, cpus, gres, limit in rows:
        found = Partition(_number(memory), _number(cpus), gpus_of(gres), minutes_of(limit))
        nodes.setdefault(name.rstrip("*"), []).append(found)
    return Facts(
        accounting=not config.get("AccountingStorageType", "").endswith("none"),
        min_job_age=_number(config.get("MinJobAge", "300")),
        partitions={name: _largest(found) for name, found in nodes.items()},
        default=next((name.rstrip("*") for name, *_ in rows if name.endswith("*")), None),
    )


def how_ends_are_seen(facts: Facts, asked: str | None) -> tuple[str, str]:
    """The command that tells how jobs ended, sacct or squeue, and why it is not the `asked` one ("" where it is).

    Raises:
        ValueError: neither knows it for long enough.
    """
    if facts.accounting and asked != "squeue":
        return "sacct", ""
    if facts.min_job_age < LEAST_AGE:
        raise ValueError(
            f"squeue forgets a job {facts.min_job_age} s after its end (MinJobAge), and sacct "
            f"{'was not asked' if facts.accounting else 'knows no jobs here (accounting is off)'}: how a job ended cannot "
            + ("be seen; leave out slurm-status-command" if facts.accounting else "be seen; have MinJobAge set to 300")
        )
    return "squeue", "" if asked == "squeue" else "accounting is off here, so sacct knows no jobs: asking squeue"


def too_much(rule: str, place: str, limits: Partition, wish: Mapping[str, int]) -> list[str]:
    """What a rule's job asks for beyond what any node of a place has.

    Args:
        place: in words, as "partition gpu".
        wish: mem_mb, runtime (minutes), gpu and threads, as far as it asks.
    """
    minutes = limits.minutes if limits.minutes is not None else wish.get("runtime", 0)
    most = {"mem_mb": limits.memory, "runtime": minutes, "gpu": limits.gpus, "threads": limits.cpus}
    return [
        f"{rule} asks for {what}={wish[what]}, and no node of {place} gives more than {has}"
        for what, has in most.items()
        if wish.get(what, 0) > has
    ]


def minutes_of(limit: str) -> int | None:
    """A time limit of Slurm's, days-hours:minutes:seconds from the right, in minutes; None = without limit."""
    if not re.fullmatch(r"[\d:-]+", limit):
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days:
        parts += [0] * (3 - len(parts))
    seconds = sum(part * 60**i for i, part in enumerate(reversed(parts)))
    return (int(days or 0) * 86400 + seconds) // 60


def _largest(nodes: list[Partition]) -> Partition:
    limits = {node.minutes for node in nodes}
    return Partition(
        max(node.memory for node in nodes),
        max(node.cpus for node in nodes),
        max(node.gpus for node in nodes),
        None if None in limits else max(limit for limit in limits if limit is not None),
    )


def gpus_of(gres: str) -> int:
    """The GPUs among a node's generic resources, as in "gpu:a100:4(S:0-1),gpu:2,tmp:1"."""
    return sum(int(count) for count in re.findall(r"\bgpu(?::[^:,()]+)?:(\d+)", gres))


def _number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{' '.join(command)}: no answer within {PATIENCE:.0f} s; try again later") from error
    except subprocess.CalledProcessError as error:
        raise ValueError(f"{' '.join(command)}: {error.stderr.strip() or error}") from error
    return done.stdout
