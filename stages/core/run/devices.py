"""Leasing one of a machine's devices to one job.

Snakemake counts `gpu` but assigns none: two jobs of one machine would both take device 0. A job takes
the first free slot among the visible devices, by an advisory lock that the kernel drops when the
process ends, however it ends. Where the scheduler already chose (Slurm sets the job's devices), nothing
is leased.
"""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.core.config.sections import Run

log = logging.getLogger(__name__)
POLL_SECONDS = 0.2
SCHEDULER_VARIABLES = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "PBS_GPUFILE", "SGE_HGR_gpu")


@contextmanager
def lease_device(run: Run) -> Iterator[str]:
    """Yields "cuda" or "cpu"; with "cuda" exactly one device is visible to this process.

    Must run before CUDA is initialised: it sets CUDA_VISIBLE_DEVICES. Also pins torch's CPU threads to
    `run.threads`: their number decides how sums are split, and so the last bits of a result.

    Raises:
        ValueError: `cuda` was asked for and there is none.
    """
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # else the question whether there is a device initialises CUDA
    import torch  # late: stages without a model start faster

    torch.set_num_threads(run.threads)
    if run.device == "cpu" or (run.device == "auto" and not torch.cuda.is_available()):
        yield "cpu"
        return
    if not torch.cuda.is_available():
        raise ValueError("run.device is 'cuda', but torch finds no CUDA device; set it to auto or cpu")
    if scheduler_chose(os.environ):
        yield "cuda"
        return
    with lease_slot(visible_devices(os.environ, torch.cuda.device_count()), lock_folder()) as slot:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot
        log.info("leased device %s", slot)
        yield "cuda"


@contextmanager
def lease_slot(slots: Sequence[str], folder: Path) -> Iterator[str]:
    """Waits for a free slot and holds it; a slot is never held twice on one machine."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        for slot in slots:
            with (folder / f"{slot.replace('/', '_')}.lock").open("a") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield slot
                return
        if not waiting:
            log.info("all of the devices %s are taken; waiting for one", ", ".join(slots))
            waiting = True
        time.sleep(POLL_SECONDS)


def visible_devices(environment: Mapping[str, str], count: int) -> list[str]:
    """The devices this process may use: the inherited CUDA_VISIBLE_DEVICES, or all `count`."""
    inherited = environment.get("CUDA_VISIBLE_DEVICES")
    if inherited is None:
        return [str(index) for index in range(count)]
    return [name.strip() for name in inherited.split(",") if name.strip()]


def scheduler_chose(environment: Mapping[str, str]) -> bool:
    """Whether a cluster scheduler already gave this job its own devices."""
    return any(environment.get(name) for name in SCHEDULER_VARIABLES)


def lock_folder() -> Path:
    """Machine-local, one a user: devices are a machine's, the cache may be shared between machines."""
    return Path(tempfile.gettempdir()) / f"referee-devices-{os.getuid()}"
