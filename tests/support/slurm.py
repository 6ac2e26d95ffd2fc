"""A real Slurm on this machine alone: one node with pretended GPUs, its daemons and state in a folder of its own.

Debian's packages slurm-wlm and munge are enough; the daemons listen on ports of their own. Commands find it by the link
CACHED, which is there while it runs: SLURM_CONF alone does not do, because the plugin's jobs drop it. So a machine that
has a Slurm of its own is left alone.
"""

import getpass
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

COMMANDS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
PLACES = (Path("/etc/slurm/slurm.conf"), Path("/etc/slurm-llnl/slurm.conf"))
CACHED = Path("/run/slurm/conf/slurm.conf")  # where a node without a config of its own has the controller's
GPUS = 4
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={place}/munge/socket
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
ReturnToService=2
MinJobAge={min_job_age}
KillWait=5
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory={memory} Gres=gpu:{gpus}
PartitionName=gpu Nodes={host} Default=YES MaxTime=3-00:00:00 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes={host} MaxTime=1:00:00 PriorityTier=9 PreemptMode=OFF
"""


def lacking() -> str:
    """Why no Slurm can be started here; empty where one can."""
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    if missing := [name for name in COMMANDS if shutil.which(name, path=places) is None]:
        return (
            f"{', '.join(missing)} not installed (Debian: apt-get install slurm-wlm munge; `make test-slurm` does it)"
        )
    if theirs := [str(file) for file in (*PLACES, CACHED) if file.exists() and not is_ours(file)]:
        return f"this machine has a Slurm of its own: {', '.join(theirs)}"
    return "" if os.geteuid() == 0 else "a Slurm is started by root alone"


def is_ours(conf: Path) -> bool:
    """Whether a config is that of a Slurm which tests started, and left behind where they were killed."""
    return conf.is_symlink() and "ClusterName=tests\n" in conf.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Slurm:
    """A running Slurm. `environment` makes every command, and snakemake, talk to it."""

    place: Path
    environment: dict[str, str]

    def ask(self, *words: str) -> str:
        """What a command of Slurm prints."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def jobs(self, *states: str) -> dict[str, str]:
        """Job id, with its index in an array → its comment, which names the rule; of jobs in these states."""
        wanted = ",".join(states) or "all"
        rows = self.ask("squeue", "--noheader", "--array", f"--states={wanted}", "--format=%i|%k").splitlines()
        return dict(row.split("|", 1) for row in rows)

    @property
    def next_job(self) -> int:
        """The id that the next job will get."""
        lines = self.ask("scontrol", "show", "config").splitlines()
        return next(int(line.split("=")[1]) for line in lines if line.startswith("NEXT_JOB_ID"))

    @contextmanager
    def starting_nothing(self) -> Iterator[None]:
        """Jobs wait in the queue meanwhile."""
        partition = ["scontrol", "update", "PartitionName=gpu"]
        self.ask(*partition, "State=DOWN")
        try:
            yield
        finally:
            self.ask(*partition, "State=UP")


@contextmanager
def one_node(place: Path, *, memory: int = 200_000, min_job_age: int = 300) -> Iterator[Slurm]:
    """Starts Slurm in `place` and ends it; `memory` in MB and `min_job_age` in seconds are what it says of itself."""
    host = socket.gethostname().split(".")[0]
    for folder in ("munge", "state", "spool", "gpus"):
        (place / folder).mkdir(parents=True)
    write_conf(place, host, memory, min_job_age)
    paths = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    environment = os.environ | {"SLURM_CONF": str(place / "slurm.conf"), "PATH": paths}
    slurm = Slurm(place, environment)
    with ExitStack() as stack:
        stack.enter_context(cached(place / "slurm.conf"))
        stack.enter_context(munge(place / "munge", environment))
        for daemon in (["slurmctld", "-D", "-i"], ["slurmd", "-D", "-N", host]):
            stack.enter_context(running(daemon, place / f"{daemon[0]}.out", environment))
        wait_until_idle(slurm)
        yield slurm
        subprocess.run(["scancel", "--user", getpass.getuser()], env=environment, check=False)
        wait_until_idle(slurm)


def write_conf(place: Path, host: str, memory: int, min_job_age: int) -> None:
    controller, node = free_ports(2)
    values = {"place": place, "host": host, "user": getpass.getuser(), "controller": controller, "node": node}
    values |= {"memory": memory, "min_job_age": min_job_age, "gpus": GPUS}
    (place / "slurm.conf").write_text(CONF.format(**values))
    for i in range(GPUS):
        os.mknod(place / f"gpus/gpu{i}", stat.S_IFCHR | 0o666, os.makedev(1, 3))  # each another /dev/null
    (place / "gres.conf").write_text(f"NodeName={host} Name=gpu File={place}/gpus/gpu[0-{GPUS - 1}]\n")


@contextmanager
def cached(conf: Path) -> Iterator[None]:
    CACHED.parent.mkdir(parents=True, exist_ok=True)
    CACHED.unlink(missing_ok=True)  # a link that killed tests have left: `lacking` has looked
    CACHED.symlink_to(conf)
    try:
        yield
    finally:
        CACHED.unlink()


@contextmanager
def munge(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    key = folder / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    folder.chmod(0o755)
    names = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed", "key-file": "key"}
    flags = [f"--{flag}={folder / name}" for flag, name in names.items()]
    with running(["munged", "--foreground", "--force", *flags], folder / "out", environment):
        yield


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str], place: Path | None = None) -> Iterator[int]:
    """A daemon, started and ended; gives its process id."""
    with log.open("wb") as handle:
        process = subprocess.Popen(command, cwd=place, env=environment, stdout=handle, stderr=subprocess.STDOUT)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_idle(slurm: Slurm, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done = subprocess.run(["sinfo", "-h", "-o", "%t"], env=slurm.environment, capture_output=True, text=True)
        if done.returncode == 0 and set(done.stdout.split()) == {"idle"}:
            return
        time.sleep(0.2)
    logs = "\n".join(file.read_text(errors="replace")[-2000:] for file in slurm.place.glob("*.log"))
    raise TimeoutError(f"Slurm's node is not idle after {seconds} s: {done.stdout}{done.stderr}\n{logs}")


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
