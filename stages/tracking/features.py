"""Image features: every frame of a video encoded once, kept where there is room.

A frame goes to the first place with room: the device, the host's memory, a temporary file. Sweeps run over
the whole video again and again, so a frame keeps its place: dropping the oldest would always drop
the one needed next. Budgets are in bytes; what a video needs beyond them costs disk, not memory.

Legend: S = side of the model's square input.
"""

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

import torch
from torch import Tensor

from stages.core.state.frames import FrameFolder
from stages.tracking.encoder import Encoder, Features
from stages.tracking.model_frames import ModelFrames
from stages.tracking.transfers import PinnedPieces, to_device

GB = 10**9
DECODERS = 6  # threads that feed a GPU, at most: a frame takes one of them some 25 ms, and a GPU 5 ms


class FeatureStore:
    """Features by frame within budgets of device and host memory; what does not fit is stored in a temporary file.

    Args:
        budget: bytes on the device, on the host. A model on the CPU uses the host's alone.
    """

    def __init__(self, device: torch.device, budget: tuple[int, int]) -> None:
        self._device = device
        self._room = {"device": 0 if device.type == "cpu" else budget[0], "host": budget[1]}
        self._kept: dict[int, Features] = {}
        self._packed: dict[int, Tensor] = {}
        self._pinned = PinnedPieces()
        self._in_file: dict[int, int] = {}
        self._file: IO[bytes] | None = None
        self._layout: list[tuple[torch.Size, torch.dtype]] = []

    def __contains__(self, frame: int) -> bool:
        return frame in self._kept or frame in self._packed or frame in self._in_file

    def put(self, frame: int, features: Features) -> None:
        """Keeps the features of a frame.

        Raises:
            ValueError: no room on the disk.
        """
        parts = (features.top_1Chw, *features.fine)
        size = sum(part.nbytes for part in parts)
        self._layout = [(part.shape, part.dtype) for part in parts]
        if self._takes("device", size):
            self._kept[frame] = features
            return
        packed = torch.cat([part.contiguous().view(torch.uint8).flatten() for part in parts])
        if self._takes("host", size):
            self._packed[frame] = self._on_host(packed)
        else:
            self._in_file[frame] = self._append(packed.cpu())

    def get(self, frame: int) -> Features:
        """The features of a frame that was put."""
        if frame in self._kept:
            return self._kept[frame]
        if frame in self._packed:  # pinned: what was copied from the device before goes back in the same order
            return self._unpack(self._packed[frame].to(self._device, non_blocking=True))
        return self._unpack(to_device(self._read(self._in_file[frame]), self._device))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _on_host(self, packed: Tensor) -> Tensor:
        if self._device.type == "cpu":
            return packed
        return self._pinned.take(len(packed)).copy_(packed, non_blocking=True)

    def _takes(self, place: str, size: int) -> bool:
        fits = size <= self._room[place]
        self._room[place] -= size if fits else 0
        return fits

    def _append(self, packed: Tensor) -> int:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            offset = self._file.seek(0, os.SEEK_END)
            self._file.write(packed.numpy().tobytes())
        except OSError as error:
            raise ValueError(
                f"{tempfile.gettempdir()}: no room for the features of another frame ({error.strerror}): free disk "
                "space, set TMPDIR, or raise run.feature_cache_gb"
            ) from error
        self._size = packed.nbytes
        return offset

    def _read(self, offset: int) -> Tensor:
        assert self._file is not None
        return torch.frombuffer(bytearray(os.pread(self._file.fileno(), self._size, offset)), dtype=torch.uint8)

    def _unpack(self, packed: Tensor) -> Features:
        parts, start = [], 0
        for shape, dtype in self._layout:
            size = shape.numel() * dtype.itemsize
            parts.append(packed[start : start + size].view(dtype).view(shape))
            start += size
        return Features(parts[0], (parts[1], parts[2]))


class VideoFeatures:
    """The features of a video's frames, encoded when first asked for; the next frames are decoded meanwhile.

    Attributes:
        encodes: how many frames went through the image encoder.
        ahead: how many frames are worth decoding in advance.
    """

    def __init__(self, encoder: Encoder, frames: FrameFolder, budget: tuple[int, int]) -> None:
        self.encoder, self.encodes = encoder, 0
        self._device = encoder.model.device
        threads = decoders(self._device)
        self.ahead = 2 * threads
        self._images = ModelFrames(frames, encoder.model.image_size, torch.device("cpu"), keep=0)
        self._store = FeatureStore(self._device, budget)
        self._decoder = ThreadPoolExecutor(threads, "decode")
        self._ahead: dict[int, Future[Tensor]] = {}

    @property
    def position_1LC(self) -> Tensor:
        """The position encoding of a frame's tokens, the same for all; there is one once a frame is encoded."""
        assert self.encoder.position_1LC is not None
        return self.encoder.position_1LC

    def get(self, frame: int, following: Sequence[int] = ()) -> Features:
        """The features of a frame; pixels of the `following` frames are decoded in the background."""
        if frame in self._store:
            return self._store.get(frame)
        features = self._encode(frame, following)
        self._store.put(frame, features)
        return features

    def close(self) -> None:
        """Frees what is kept; no frame can be asked for afterwards."""
        self._decoder.shutdown(cancel_futures=True)
        self._store.close()

    def _encode(self, frame: int, following: Sequence[int]) -> Features:
        pixels = self._ahead.pop(frame, None) or self._decoder.submit(self._decode, frame)
        for index in following:
            if 0 <= index < len(self._images) and index not in self._store and index not in self._ahead:
                self._ahead[index] = self._decoder.submit(self._decode, index)
        self.encodes += 1
        return self.encoder(pixels.result())

    def _decode(self, frame: int) -> Tensor:
        """(S, S, 3) uint8 on the host, ready to be copied to the device."""
        pixels_SS3 = self._images.pixels(frame)
        return pixels_SS3.pin_memory() if self._device.type == "cuda" else pixels_SS3


def decoders(device: torch.device) -> int:
    """Threads that decode frames. On a CPU one, beside those that compute; for a GPU, two cores are left to others."""
    if device.type == "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, min(DECODERS, cores - 2))
