"""Devices: which slots a job has in every environment, leases between real processes, CPU and its fallbacks."""

import fcntl
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from support.project import ROOT, make_config

from stages.core.config.loading import settings_of
from stages.core.run.devices import ALLOCATOR, SEGMENTS, lease, lease_device, lease_slot, lock_folder
from stages.core.run.nvml import NO_PERMISSION, Gpu, NvmlError, gpus_of
from stages.core.run.slots import VISIBLE, Slot, scheduled, scheduler_chose, shared, slots_of, visible

A, B, C, D = (f"GPU-{letter * 8}-0000-0000-0000-000000000000" for letter in "abcd")
FOUR = [Gpu(A), Gpu(B), Gpu(C), Gpu(D)]
SLICES = ("MIG-11111111-0000-0000-0000-000000000000", "MIG-22222222-0000-0000-0000-000000000000")
SLICED = [Gpu(A, SLICES), Gpu(B)]
UNKNOWN = [Gpu()] * 4


def names(environment: Mapping[str, str], gpus: Sequence[Gpu]) -> list[str]:
    return [slot.name for slot in slots_of(environment, gpus)]


def locks(environment: Mapping[str, str], gpus: Sequence[Gpu]) -> list[str]:
    return [slot.lock for slot in slots_of(environment, gpus)]


# ------------------------------------------------------------- CUDA_VISIBLE_DEVICES


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0,1,2,3", ["0", "1", "2", "3"]),
        ("2,0", ["2", "0"]),
        (" 1 , 3 ", ["1", "3"]),
        ("0,-1", ["0"]),
        ("0,-1,2", ["0"]),
        ("-1", []),
        ("", []),
        (",0", []),
        ("0,,1", ["0"]),
        ("0,7,1", ["0"]),
        ("0,junk,1", ["0"]),
        ("none", []),
        ("NoDevFiles", []),
        ("1gpu2,2ampere", ["1", "2"]),
        ("1,1", []),
        ("01,2", ["1", "2"]),
        ("0," + A, ["0"]),
        (A, [A]),
        (f"{C},{A}", [C, A]),
        ("GPU-c,GPU-aaaa", [C, A]),
        ("GPU-c,GPU-", [C]),
        ("GPU-c,GPU-f,GPU-a", [C]),
        ("GPU-f", []),
        ("GPU-c,GPU-cc", []),
        (f"{A},0", [A]),
        (",".join(SLICES), list(SLICES)),
        (f"{SLICES[0]},0", [SLICES[0]]),
        ("MIG-GPU-aa/1/0,MIG-GPU-aa/2/0", ["MIG-GPU-aa/1/0", "MIG-GPU-aa/2/0"]),
        (f"{SLICES[0]},{SLICES[0]}", []),
    ],
)
def test_the_list_is_read_as_cuda_reads_it(given: str, expected: list[str]) -> None:
    assert visible(given, FOUR) == expected


@pytest.mark.parametrize("given", ["0,1,2,3", "2,0", "0,-1", "-1", "0,7,1", "0,junk", "1gpu2,2ampere", "1,1", "0,,1"])
def test_indices_are_those_that_torch_counts(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import cuda

    monkeypatch.setenv(VISIBLE, given)
    monkeypatch.setattr(cuda, "_raw_device_count_nvml", lambda: 4)
    assert len(visible(given, FOUR)) == cuda._device_count_nvml()


@pytest.mark.parametrize("given", [A, f"{C},{A}", "GPU-c,GPU-f", "GPU-", "GPU-c,GPU-cc", f"{A},0"])
def test_uuids_are_those_that_torch_counts(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import cuda

    monkeypatch.setenv(VISIBLE, given)
    monkeypatch.setattr(cuda, "_raw_device_uuid_nvml", lambda: [A, B, C, D])
    assert len(visible(given, FOUR)) == cuda._device_count_nvml()


# ------------------------------------------------------------- slots


SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0,1,2,3", VISIBLE: "0,1,2,3"}


@pytest.mark.parametrize(
    ("environment", "gpus", "expected"),
    [
        ({}, FOUR, ["0", "1", "2", "3"]),
        ({}, [], []),
        ({VISIBLE: "0"}, [], []),
        (SLURM, FOUR, ["0", "1", "2", "3"]),
        ({"SLURM_JOB_GPUS": "0,1,2,3"}, FOUR, ["0", "1", "2", "3"]),
        ({"SLURM_JOB_GPUS": "2,3"}, FOUR, ["2", "3"]),  # nothing hides the others
        ({"SLURM_JOB_GPUS": "6,7"}, FOUR[:2], ["0", "1"]),  # the others are hidden
        ({"SLURM_JOB_GPUS": "0-2"}, FOUR, ["0", "1", "2"]),
        ({"SLURM_JOB_GPUS": "0,1,2,3", "SLURM_STEP_GPUS": "1"}, FOUR, ["1"]),
        ({"SLURM_JOB_GPUS": "2,3", VISIBLE: "0,1"}, FOUR[:2], ["0", "1"]),
        ({"SLURM_JOB_GPUS": "0,1", VISIBLE: "0,-1"}, FOUR, ["0"]),
        ({"SGE_HGR_gpu": "0 2"}, FOUR, ["0", "2"]),
        ({"SGE_HGR_gpu": "GPU1,GPU3"}, FOUR, ["1", "3"]),
        ({"SGE_HGR_gpu": "whatever"}, FOUR, ["0", "1", "2", "3"]),
        ({"PBS_GPUFILE": "/no/such/file"}, FOUR, ["0", "1", "2", "3"]),
        ({VISIBLE: ",".join(SLICES)}, SLICED, list(SLICES)),
        ({}, SLICED, [*SLICES, "1"]),
        ({VISIBLE: "0"}, SLICED, list(SLICES)),
        ({VISIBLE: A}, SLICED, list(SLICES)),
        ({VISIBLE: f"{B},{A}"}, FOUR, [B, A]),
        ({VISIBLE: f"{B},{A}"}, [], [B, A]),  # nothing tells them, and UUIDs need no telling
    ],
)
def test_a_job_has_the_slots_of_its_environment(
    environment: dict[str, str], gpus: list[Gpu], expected: list[str]
) -> None:
    assert names(environment, gpus) == expected


def test_the_gpu_file_of_pbs_is_read_for_this_machine(tmp_path: Path) -> None:
    host = os.uname().nodename.split(".")[0]
    file = tmp_path / "gpus"
    file.write_text(f"{host}-gpu1\n{host}-gpu2\nanother-node-gpu0\n")
    assert names({"PBS_GPUFILE": str(file)}, FOUR) == ["1", "2"]
    file.write_text("alias-gpu3\n")
    assert names({"PBS_GPUFILE": str(file)}, FOUR) == ["3"]
    file.write_text("")
    assert names({"PBS_GPUFILE": str(file)}, FOUR) == ["0", "1", "2", "3"]
    assert scheduled({}, 2) == [0, 1]


def test_locks_name_the_device_whatever_a_job_calls_it() -> None:
    assert locks({}, FOUR) == [A, B, C, D] == locks({VISIBLE: "0,1,2,3"}, FOUR)
    assert locks({VISIBLE: "GPU-c"}, FOUR) == locks({VISIBLE: "2"}, FOUR) == [C]
    assert locks({VISIBLE: "0,1"}, FOUR[2:]) == [C, D]  # a scheduler hides the first two
    assert locks({}, SLICED) == [*SLICES, B]
    assert locks({VISIBLE: "0,1"}, UNKNOWN) == ["device-0", "device-1"]
    assert locks({VISIBLE: "0,1", "SLURM_JOB_GPUS": "2,3"}, UNKNOWN[:2]) == ["device-2", "device-3"]
    fastest_first = {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    assert locks(fastest_first, FOUR[:2]) == ["device-0", "device-1"], "NVML counts in another order"


# ------------------------------------------------------------- NVML


class Driver:
    """A machine as NVML describes it: an answer per device, or the code that asking for it returns."""

    def __init__(self, *devices: tuple[str, Sequence[str]] | int) -> None:
        self.devices = devices

    def count(self) -> int:
        return len(self.devices)

    def uuid(self, index: int) -> str:
        return self._answer(index)[0]

    def slices(self, index: int) -> Sequence[str]:
        return self._answer(index)[1]

    def _answer(self, index: int) -> tuple[str, Sequence[str]]:
        device = self.devices[index]
        if isinstance(device, int):
            raise NvmlError("nvmlDeviceGetHandleByIndex_v2", device)
        return device


def test_what_nvml_tells() -> None:
    assert gpus_of(Driver((A, SLICES), (B, ()))) == SLICED
    assert gpus_of(Driver()) == []
    assert gpus_of(Driver(NO_PERMISSION, (B, ()))) == [Gpu(B)], "CUDA does not count what may not be opened"
    assert gpus_of(Driver(999, (B, ()))) == [Gpu(), Gpu(B)], "a lost device keeps its number"


LIBRARY = r"""
#include <stdio.h>
#include <stdint.h>
int nvmlInit_v2(void) { return 0; }
int nvmlInit(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { if (i == 2) return 4; *h = (void *)(uintptr_t)(i + 1); return 0; }
int nvmlDeviceGetMigMode(void *h, unsigned *now, unsigned *later) {
  if ((uintptr_t)h != 1) return 3; *now = *later = 1; return 0; }
int nvmlDeviceGetMaxMigDeviceCount(void *h, unsigned *n) { *n = 7; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *h, unsigned i, void **m) {
  if (i % 3) return 6; *m = (void *)(uintptr_t)(100 + i); return 0; }
int nvmlDeviceGetUUID(void *h, char *text, unsigned n) {
  unsigned long k = (uintptr_t)h; snprintf(text, n, k >= 100 ? "MIG-%lu" : "GPU-%lu", k); return 0; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a libnvidia-ml.so.1 of three devices: one of three slices, one whole, one not ours."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", folder / "nvml.c"], check=True)
    return folder


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != VISIBLE}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**inherited, **environment}, capture_output=True, text=True
    )


def test_the_drivers_library_is_asked(library: Path) -> None:
    code = "from stages.core.run.slots import visible_slots; print([(s.name, s.lock) for s in visible_slots()])"
    done = python(code, LD_LIBRARY_PATH=str(library))
    slices = [(name, name) for name in ("MIG-100", "MIG-103", "MIG-106")]
    assert done.stdout == f"{[*slices, ('1', 'GPU-2')]}\n", done.stderr


# ------------------------------------------------------------- leases


def slot(name: str) -> Slot:
    return Slot(name, name)


def hold(
    slots: list[Slot], folder: Path, queue: "multiprocessing.Queue[tuple[str, float, float]]", together: Barrier
) -> None:
    with lease_slot(slots, folder) as leased:
        start = time.monotonic()
        together.wait(timeout=120)
        time.sleep(0.1)
        queue.put((leased.lock, start, time.monotonic()))


def held_by(jobs: Sequence[list[Slot]], folder: Path, at_once: int) -> list[tuple[str, float, float]]:
    """What processes of these slots held, and from when to when: each waits until `at_once` of them hold something."""
    context = multiprocessing.get_context("spawn")
    queue, together = context.Queue(), context.Barrier(at_once)
    processes = [context.Process(target=hold, args=(slots, folder, queue, together)) for slots in jobs]
    for process in processes:
        process.start()
    held = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    return held


def assert_never_shared(held: Sequence[tuple[str, float, float]]) -> None:
    for i, (lock, start, end) in enumerate(held):
        for other, other_start, other_end in held[i + 1 :]:
            assert lock != other or end <= other_start or other_end <= start, "two jobs held one device"


def test_four_jobs_never_share_two_devices(tmp_path: Path) -> None:
    held = held_by([[slot("0"), slot("1")]] * 4, tmp_path, at_once=2)
    assert {lock for lock, _, _ in held} == {"0", "1"}
    assert_never_shared(held)


def test_jobs_of_one_allocation_take_a_device_each(tmp_path: Path) -> None:
    held = held_by([slots_of(SLURM, FOUR)] * 4, tmp_path, at_once=4)
    assert {lock for lock, _, _ in held} == {A, B, C, D}
    assert_never_shared(held)


def test_jobs_that_call_a_device_by_other_names_share_its_lock(tmp_path: Path) -> None:
    held = held_by([slots_of({VISIBLE: given}, FOUR[:1]) for given in ("0", "GPU-a", A)], tmp_path, at_once=1)
    assert {lock for lock, _, _ in held} == {A}
    assert_never_shared(held)


def test_a_killed_job_frees_its_device(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from stages.core.run.devices import lease_slot\n"
        "from stages.core.run.slots import Slot\n"
        f"with lease_slot([Slot('0', '0')], Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    job = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert job.stdout is not None and job.stdout.readline() == b"held\n"
    job.kill()
    job.wait()
    with lease_slot([slot("0")], tmp_path) as leased:
        assert leased == slot("0")


def test_a_lock_file_that_was_cleaned_away_is_no_lease(tmp_path: Path) -> None:
    """The next job makes a new file, and whoever comes then must wait for that job, not for the lost file."""
    with lease_slot([slot("0"), slot("1")], tmp_path) as first:
        (tmp_path / "0.lock").unlink()
        with (
            lease_slot([slot("0"), slot("1")], tmp_path) as second,
            lease_slot([slot("0"), slot("1")], tmp_path) as third,
        ):
            assert [first.name, second.name, third.name] == ["0", "0", "1"]


def test_locks_in_a_folder_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "locks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="belongs to another user"), lease_slot([slot("0")], tmp_path / "locks"):
        pass
    assert not list((tmp_path / "elsewhere").iterdir())


def test_jobs_of_one_machine_share_the_lock_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = lock_folder()
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # schedulers set one per job
    assert lock_folder() == before


# ------------------------------------------------------------- what a process sees


def ready() -> None:
    """CUDA that starts."""


def test_a_leased_device_is_all_that_the_process_sees(tmp_path: Path) -> None:
    environment = dict(SLURM)
    slots = slots_of(environment, FOUR)
    with lease("auto", slots, environment, ready, tmp_path) as device:
        assert device == "cuda" and environment[VISIBLE] == "0" and environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        with lease("cuda", slots, other := dict(SLURM), ready, tmp_path):
            assert other[VISIBLE] == "1"
    assert environment[VISIBLE] == "0", "CUDA does not look again"


@pytest.mark.parametrize(
    "given", [{"SLURM_JOB_GPUS": "3"}, {"SGE_HGR_gpu": "3"}, {"SLURM_JOB_GPUS": "3", VISIBLE: "3"}]
)
def test_the_one_device_of_a_scheduler_is_taken_without_a_lock(given: dict[str, str], tmp_path: Path) -> None:
    environment = dict(given)
    assert scheduler_chose(environment) and not scheduler_chose({VISIBLE: "0"})
    with lease("auto", slots_of(environment, FOUR), environment, ready, tmp_path) as device:
        assert device == "cuda" and environment[VISIBLE] == "3"
    assert not list(tmp_path.iterdir())


def test_the_only_device_of_a_machine_is_leased(tmp_path: Path) -> None:
    with lease("auto", slots_of({}, FOUR[:1]), {}, ready, tmp_path):
        assert [file.name for file in tmp_path.iterdir()] == [f"{A}.lock"]


def test_jobs_spread_over_devices_before_they_share_one(tmp_path: Path) -> None:
    taken: list[str] = []
    with ExitStack() as stack:
        for _ in range(4):
            environment: dict[str, str] = {}
            stack.enter_context(lease("cuda", slots_of({}, FOUR[:2]), environment, ready, tmp_path, 2))
            taken.append(environment[VISIBLE])
        assert not free(shared(slots_of({}, FOUR[:2]), 2), tmp_path)
        assert free(shared(slots_of({}, FOUR[:2]), 3), tmp_path) == [f"{A}+2", f"{B}+2"]
    assert taken == ["0", "1", "0", "1"]


def free(slots: Sequence[Slot], folder: Path) -> list[str]:
    """Locks that nobody holds."""
    unlocked = []
    for slot in slots:
        with (folder / f"{slot.lock}.lock").open("a") as handle, suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unlocked.append(slot.lock)
    return unlocked


@pytest.mark.parametrize("given", [{"SLURM_JOB_GPUS": "3"}, {"SGE_HGR_gpu": "3"}])
def test_the_device_of_a_scheduler_is_shared_as_that_says(given: dict[str, str], tmp_path: Path) -> None:
    with lease("cuda", slots_of(given, FOUR), given, ready, tmp_path, 2):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ALLOCATOR)
def test_memory_of_the_device_grows_in_segments_unless_the_user_says_otherwise(name: str, tmp_path: Path) -> None:
    mine, theirs = {}, {name: "max_split_size_mb:128"}
    with (
        lease("cuda", slots_of({}, FOUR), mine, ready, tmp_path),
        lease("cuda", slots_of({}, FOUR), theirs, ready, tmp_path),
    ):
        assert mine[ALLOCATOR[0]] == SEGMENTS and {key: theirs.get(key) for key in ALLOCATOR} == {
            key: "max_split_size_mb:128" if key == name else None for key in ALLOCATOR
        }


@pytest.mark.parametrize("before", [{}, {VISIBLE: "0,1"}])
def test_cpu_hides_every_device_while_it_runs(before: dict[str, str], tmp_path: Path) -> None:
    environment = dict(before)
    with lease("cpu", [], environment, lambda: pytest.fail("asked CUDA"), tmp_path) as device:
        assert device == "cpu" and environment[VISIBLE] == ""
    assert environment == before


def test_cpu_shows_torch_no_device(library: Path) -> None:
    """With a driver of two devices in the way: NVML's count of torch sees them before, and not inside."""
    code = (
        "import os; os.environ['PYTORCH_NVML_BASED_CUDA_CHECK'] = '1'; import torch; from types import SimpleNamespace\n"
        "from stages.core.run.devices import lease_device\n"
        "print(torch.cuda.device_count())\n"
        "with lease_device(SimpleNamespace(device='cpu', threads=1, slots_per_device=1)) as device:\n"
        "    print(device, torch.cuda.device_count(), torch.cuda.is_available())\n"
    )
    done = python(code, LD_LIBRARY_PATH=str(library))
    assert done.stdout == "3\ncpu 0 False\n", done.stderr


OLD = "The NVIDIA driver on your system is too old (found version 11040).\nPlease update your GPU driver"


def too_old() -> None:
    raise RuntimeError(OLD)


def test_auto_goes_to_the_cpu_where_cuda_does_not_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    environment: dict[str, str] = {}
    with (
        caplog.at_level(logging.WARNING),
        lease("auto", slots_of({}, FOUR), environment, too_old, tmp_path) as device,
        lease_slot(slots_of({}, FOUR[:1]), tmp_path),
    ):  # the lease was given back
        assert device == "cpu" and environment[VISIBLE] == ""
    assert len(caplog.records) == 1 and "too old (found version 11040). Please update" in caplog.text


def test_cuda_that_does_not_start_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'cuda', but CUDA does not start: The NVIDIA driver .* too old"):  # noqa: SIM117
        with lease("cuda", slots_of({}, FOUR), {}, too_old, tmp_path):
            pass


@pytest.mark.parametrize(
    ("environment", "words"), [({}, "no CUDA device;"), ({VISIBLE: "-1"}, "in CUDA_VISIBLE_DEVICES='-1'")]
)
def test_cuda_without_a_device_is_an_error(environment: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words), lease("cuda", slots_of(environment, []), environment, ready, tmp_path):
        pass


def test_an_error_inside_a_lease_is_not_taken_for_a_failing_start(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="of the stage"), lease("auto", slots_of({}, FOUR), {}, ready, tmp_path):
        raise RuntimeError("of the stage")


def test_torch_without_a_driver_falls_back(library: Path) -> None:
    """NVML names a device that CUDA does not have, so torch's own start fails as it does with an old driver."""
    code = (
        "import logging, os; logging.basicConfig(level='WARNING'); from types import SimpleNamespace\n"
        "from stages.core.run.devices import lease_device\n"
        "with lease_device(SimpleNamespace(device={!r}, threads=1, slots_per_device=1)) as device:\n"
        "    print(device, repr(os.environ['CUDA_VISIBLE_DEVICES']))\n"
    )
    done = python(code.format("auto"), LD_LIBRARY_PATH=str(library), CUDA_VISIBLE_DEVICES="GPU-2")
    assert done.stdout == "cpu ''\n" and done.stderr.count("CUDA does not start") == 1, done.stderr
    done = python(code.format("cuda"), LD_LIBRARY_PATH=str(library), CUDA_VISIBLE_DEVICES="GPU-2")
    assert done.returncode == 1 and "run.device is 'cuda', but CUDA does not start: " in done.stderr


def test_lease_device_pins_threads_and_full_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before, run = torch.get_num_threads(), settings_of(make_config(tmp_path), "shapes").run
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    try:
        with lease_device(run.model_copy(update={"device": "cpu", "threads": 1})):
            assert torch.get_num_threads() == 1 and not torch.backends.cudnn.allow_tf32
    finally:
        torch.set_num_threads(before)
