"""What NVIDIA's management library tells about a machine's devices, without initialising CUDA.

CUDA reads CUDA_VISIBLE_DEVICES once, when it is initialised: whoever wants to set it must count devices by
other means. NVML counts in the order of the PCI bus, as CUDA does with CUDA_DEVICE_ORDER=PCI_BUS_ID.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

LIBRARY = "libnvidia-ml.so.1"
UUID_BYTES = 96  # NVML_DEVICE_UUID_V2_BUFFER_SIZE
NO_PERMISSION = 4  # NVML_ERROR_NO_PERMISSION
MIG_ON = 1  # NVML_DEVICE_MIG_ENABLE


@dataclass(frozen=True)
class Gpu:
    """A device.

    Attributes:
        uuid: "GPU-…"; "" where it is not known.
        slices: UUIDs of its MIG slices, "MIG-…"; none where it is whole.
    """

    uuid: str = ""
    slices: tuple[str, ...] = ()


class NvmlError(OSError):
    """A call failed; `code` is NVML's."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} returned {code}")
        self.code = code


class Nvml(Protocol):
    """What is asked of NVML; each call raises NvmlError where there is no answer."""

    def count(self) -> int: ...

    def uuid(self, index: int) -> str: ...

    def slices(self, index: int) -> Sequence[str]:
        """UUIDs of the MIG slices of a device."""
        ...


class NvmlLibrary:
    """The driver's own library; raises OSError where there is none or it does not start."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        self._call("nvmlInit_v2")

    def count(self) -> int:
        return self._number("nvmlDeviceGetCount_v2")

    def uuid(self, index: int) -> str:
        return self._uuid(self._device(index))

    def slices(self, index: int) -> list[str]:
        device, current, pending = self._device(index), ctypes.c_uint(), ctypes.c_uint()
        try:
            self._call("nvmlDeviceGetMigMode", device, ctypes.byref(current), ctypes.byref(pending))
        except NvmlError:  # most devices have no such mode
            return []
        if current.value != MIG_ON:
            return []
        places = range(self._number("nvmlDeviceGetMaxMigDeviceCount", device))
        return [self._uuid(piece) for place in places if (piece := self._slice(device, place)) is not None]

    def _device(self, index: int) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
        return handle

    def _slice(self, device: ctypes.c_void_p, place: int) -> ctypes.c_void_p | None:
        handle = ctypes.c_void_p()
        try:
            self._call("nvmlDeviceGetMigDeviceHandleByIndex", device, ctypes.c_uint(place), ctypes.byref(handle))
        except NvmlError:  # the place is empty, or another user's
            return None
        return handle

    def _uuid(self, handle: ctypes.c_void_p) -> str:
        text = ctypes.create_string_buffer(UUID_BYTES)
        self._call("nvmlDeviceGetUUID", handle, text, ctypes.c_uint(UUID_BYTES))
        return text.value.decode()

    def _number(self, name: str, *arguments: Any) -> int:
        number = ctypes.c_uint()
        self._call(name, *arguments, ctypes.byref(number))
        return number.value

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, name, None)
        code = -1 if function is None else function(*arguments)
        if code != 0:
            raise NvmlError(name, code)


def gpus_of(nvml: Nvml) -> list[Gpu]:
    """The devices by CUDA's index. Those that this process may not open have no index, and are left out."""
    gpus = []
    for index in range(nvml.count()):
        try:
            gpus.append(Gpu(nvml.uuid(index), tuple(nvml.slices(index))))
        except NvmlError as error:
            if error.code != NO_PERMISSION:
                gpus.append(Gpu())
    return gpus


def machine_gpus() -> list[Gpu]:
    """The devices of this machine by CUDA's index, as NVML tells, or else as many as have a device file."""
    try:
        return gpus_of(NvmlLibrary())
    except OSError:
        return [Gpu() for _ in Path("/dev").glob("nvidia[0-9]*")]
