"""Leasing one of a machine's devices to one job.

Snakemake counts `gpu` but assigns none: two jobs of one machine, or of one allocation of several devices, would
all take device 0. A job takes the first free slot among the devices it may use, by an advisory lock that the
kernel drops when the process ends, however it ends. A slot is a whole device, or a MIG slice of one, and with
`run.slots_per_device` each is several slots. A single device that a scheduler gave is taken as it is: whether it is shared
was the scheduler's choice.

Which devices those are: stages/core/run/slots.py.
"""

import fcntl
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.core.config.section import Device
from stages.core.config.sections import Run
from stages.core.run.slots import ORDER, PCI_ORDER, VISIBLE, Slot, scheduler_chose, shared, visible_slots

log = logging.getLogger(__name__)
POLL_SECONDS = 0.2
# Memory of freed tensors of one size serves tensors of another: batches and memories here have many sizes. The names are
# those of torch's allocator, the first of all versions, and none is touched where one is set.
ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
SEGMENTS = "expandable_segments:True"


@contextmanager
def lease_device(run: Run) -> Iterator[str]:
    """Yields "cuda" or "cpu"; with "cuda" exactly one device is visible to this process, with "cpu" none is.

    Must run before CUDA is initialised: it sets CUDA_VISIBLE_DEVICES. Also pins torch's CPU threads to
    `run.threads`: their number decides how sums are split, and so the last bits of a result; and float32 is full float32.

    Raises:
        ValueError: `cuda` was asked for, and there is no device or CUDA does not start.
    """
    import torch  # late: stages without a model start faster

    torch.set_num_threads(run.threads)
    full_float32()
    slots = visible_slots() if run.device != "cpu" else []
    with lease(run.device, slots, os.environ, torch.cuda.init, lock_folder(), run.slots_per_device) as device:
        yield device


def full_float32() -> None:
    """In convolutions on CUDA too: torch would round their inputs to 10 bits (TF32), and a score depend on the device in its
    third digit. Matrix products are full float32 as torch comes."""
    import torch

    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def lease(
    wanted: Device,
    slots: Sequence[Slot],
    environment: MutableMapping[str, str],
    start: Callable[[], None],
    folder: Path,
    per_device: int = 1,
) -> Iterator[str]:
    """`lease_device` among `slots`.

    Args:
        environment: is changed: CUDA_VISIBLE_DEVICES names the slot, and stays so, because CUDA does not look again, nor
            does torch's allocator at its own; with "cpu" it is empty inside the block.
        start: initialises CUDA; raises RuntimeError where that fails, such as with a driver too old for the build.
        folder: of the lock files.
        per_device: how many jobs share a device that is leased.
    """
    if wanted == "cpu" or (wanted == "auto" and not slots):
        with _hidden(environment):
            yield "cpu"
        return
    if not slots:
        raise ValueError(f"run.device is 'cuda', but there is no CUDA device{_why(environment)}; set it to auto or cpu")
    locked = _must_lock(slots, environment)
    with lease_slot(shared(slots, per_device), folder) if locked else _given(slots[0]) as slot:
        environment.setdefault(ORDER, PCI_ORDER)
        environment[VISIBLE] = slot.name
        if not any(name in environment for name in ALLOCATOR):
            environment[ALLOCATOR[0]] = SEGMENTS
        reason = _failure(start)
        if reason is None:
            log.info("using device %s", slot.name)
            yield "cuda"
            return
    if wanted == "cuda":
        raise ValueError(f"run.device is 'cuda', but CUDA does not start: {reason}; set it to auto or cpu")
    log.warning("run.device is auto, and CUDA does not start: models run on the CPU (%s)", reason)
    with _hidden(environment):
        yield "cpu"


@contextmanager
def lease_slot(slots: Sequence[Slot], folder: Path) -> Iterator[Slot]:
    """Waits for a free slot and holds it; a slot is never held twice on one machine.

    Raises:
        ValueError: the folder of lock files is not this user's.
    """
    _own(folder)
    waiting = False
    while True:
        for slot in slots:
            with (folder / f"{slot.lock.replace('/', '_')}.lock").open("a") as handle:
                if not _locked(handle.fileno(), Path(handle.name)):
                    continue
                yield slot
                return
        if not waiting:
            log.info(
                "all devices (%s) are taken; waiting for one", ", ".join(dict.fromkeys(slot.name for slot in slots))
            )
            waiting = True
        time.sleep(POLL_SECONDS)


def lock_folder() -> Path:
    """One per machine and user. Not below TMPDIR, which schedulers set per job: jobs of one machine share it."""
    shared = Path("/tmp")
    return (shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())) / f"referee-devices-{os.getuid()}"


@contextmanager
def _hidden(environment: MutableMapping[str, str]) -> Iterator[None]:
    """No device is visible: some libraries put tensors on one wherever there is one, asked or not."""
    before = environment.get(VISIBLE)
    environment[VISIBLE] = ""
    try:
        yield
    finally:
        if before is None:
            environment.pop(VISIBLE, None)
        else:
            environment[VISIBLE] = before


@contextmanager
def _given(slot: Slot) -> Iterator[Slot]:
    yield slot


def _must_lock(slots: Sequence[Slot], environment: Mapping[str, str]) -> bool:
    return len(slots) > 1 or not scheduler_chose(environment)


def _failure(start: Callable[[], None]) -> str | None:
    try:
        start()
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for CUDA
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _why(environment: Mapping[str, str]) -> str:
    return f" in {VISIBLE}={environment[VISIBLE]!r}" if VISIBLE in environment else ""


def _own(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise ValueError(f"{folder}: holds the locks of devices, and belongs to another user: have it removed")


def _locked(handle: int, path: Path) -> bool:
    """Whether this process holds the lock, and of the file at `path`: cleaners of /tmp may have removed the one locked."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        current = path.stat()
    except (BlockingIOError, FileNotFoundError):
        return False
    os.utime(handle)
    return (current.st_dev, current.st_ino) == (os.fstat(handle).st_dev, os.fstat(handle).st_ino)
