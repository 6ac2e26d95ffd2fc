"""Which devices a job may use, as slots for one job each.

Read off the environment as CUDA reads it, off the scheduler's variables, and off NVML: before CUDA is initialised,
because from then on CUDA_VISIBLE_DEVICES has no effect.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.run.nvml import Gpu, machine_gpus

log = logging.getLogger(__name__)
VISIBLE, ORDER, PCI_ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
# A step's variable takes precedence over its job's. PBS names a file with a line "host-gpu2" per device, the others
# hold names.
SCHEDULER_VARIABLES = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "PBS_GPUFILE", "SGE_HGR_gpu")
RANGE = re.compile(r"(\d+)(?:-(\d+))?$")  # at the end of a name: "2", "gpu2", "0-3"
WHOLE, SLICE = "GPU-", "MIG-"
MOST = 64  # devices; torch counts no further


@dataclass(frozen=True)
class Slot:
    """A device for one job.

    Attributes:
        name: what CUDA_VISIBLE_DEVICES calls it.
        lock: names its lock file: the same whatever another job calls the device.
    """

    name: str
    lock: str


def visible_slots() -> list[Slot]:
    """The slots this process may use."""
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # else the question whether there is a device initialises CUDA
    import torch

    if torch.version.cuda is None and torch.version.hip is None:  # a build for the CPU
        return []
    gpus = machine_gpus()
    if not gpus and torch.cuda.is_available():  # only torch knows, of devices that are not NVIDIA's
        gpus = [Gpu()] * (MOST if VISIBLE in os.environ else torch.cuda.device_count())
    return slots_of(os.environ, gpus)


def slots_of(environment: Mapping[str, str], gpus: Sequence[Gpu]) -> list[Slot]:
    """The slots of a job: its CUDA_VISIBLE_DEVICES, or what its scheduler names, or all devices.

    Args:
        gpus: of the machine, by index.
    """
    if environment.get(ORDER, PCI_ORDER) != PCI_ORDER:
        gpus = [Gpu()] * len(gpus)  # NVML's index is another one
    given = environment.get(VISIBLE)
    names = visible(given, gpus) if given is not None else [str(i) for i in scheduled(environment, len(gpus))]
    places = _places(environment, names)
    return [slot for name, place in zip(names, places, strict=True) for slot in _slots(name, place, gpus)]


def shared(slots: Sequence[Slot], jobs: int) -> list[Slot]:
    """Every device as that many slots, in an order in which jobs spread over devices before they share one."""
    return [Slot(slot.name, f"{slot.lock}+{i}") if i else slot for i in range(jobs) for slot in slots]


def visible(given: str, gpus: Sequence[Gpu]) -> list[str]:
    """The devices of a CUDA_VISIBLE_DEVICES, as CUDA reads it and torch counts: indices, or UUIDs.

    The list ends at the first entry that is not a device or is of another kind than the first; a device named twice
    makes it empty. A UUID may be shortened as long as one device alone begins with it.
    """
    names: list[str] = []
    kind = next((prefix for prefix in (WHOLE, SLICE) if given.strip().startswith(prefix)), "")
    for entry in given.split(","):
        name = _device(entry.strip(), kind, gpus)
        if name is None:
            break
        if name in names:
            return []
        names.append(name)
    return names


def scheduled(environment: Mapping[str, str], count: int) -> list[int]:
    """Indices of the devices that a scheduler gave without setting CUDA_VISIBLE_DEVICES; else of all `count`.

    Where a scheduler hides all other devices, those left count from 0 whatever it calls them.
    """
    places = scheduler_places(environment)
    named = [int(place) for place in places]
    return named if named and len(named) != count and max(named) < count else list(range(count))


def scheduler_places(environment: Mapping[str, str]) -> list[str]:
    """The numbers of the devices that a cluster scheduler gave this job on this machine; none without one."""
    for name in SCHEDULER_VARIABLES:
        if value := environment.get(name):
            words = _gpu_file(Path(value)) if name == "PBS_GPUFILE" else re.split(r"[,\s]+", value.strip())
            ranges = [match for word in words if (match := RANGE.search(word))]
            numbers = [i for match in ranges for i in range(int(match[1]), int(match[2] or match[1]) + 1)]
            return [str(i) for i in dict.fromkeys(numbers)]
    return []


def scheduler_chose(environment: Mapping[str, str]) -> bool:
    """Whether a cluster scheduler gave this job its own devices."""
    return any(environment.get(name) for name in SCHEDULER_VARIABLES)


def _slots(name: str, place: str, gpus: Sequence[Gpu]) -> list[Slot]:
    """A visible device as a slot, or its slices as one each: CUDA takes a single slice per process."""
    if name.startswith(SLICE):
        return [Slot(name, name)]
    gpu = gpus[int(name)] if name.isdigit() else next((gpu for gpu in gpus if gpu.uuid == name), Gpu(name))
    if gpu.slices:
        return [Slot(piece, piece) for piece in gpu.slices]
    return [Slot(name, gpu.uuid or f"device-{place}")]


def _places(environment: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """What the machine, not the job, calls the devices, as far as a scheduler tells."""
    places = scheduler_places(environment)
    return places if len(places) == len(names) else list(names)


def _device(entry: str, kind: str, gpus: Sequence[Gpu]) -> str | None:
    """The name of one device in CUDA_VISIBLE_DEVICES; None = it is not a device."""
    if kind == SLICE:
        return entry if entry.startswith(SLICE) else None
    if kind == WHOLE:
        known = [gpu.uuid for gpu in gpus if gpu.uuid]
        matches = [uuid for uuid in known if uuid.startswith(entry)] if known else [entry]
        return matches[0] if entry.startswith(WHOLE) and len(matches) == 1 else None
    number = re.match(r"\+?(\d+)", entry)  # "1gpu" is 1, as strtoul reads it
    return str(int(number[1])) if number and int(number[1]) < len(gpus) else None


def _gpu_file(file: Path) -> list[str]:
    """The lines of this machine in PBS' file, or all where none names it."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split()
    except OSError as error:
        log.warning("PBS_GPUFILE cannot be read (%s): it is ignored", error)
        return []
    host = os.uname().nodename.split(".")[0]
    return [line for line in lines if line.rpartition("-")[0].split(".")[0] == host] or lines
