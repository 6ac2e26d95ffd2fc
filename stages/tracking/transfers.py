"""Copies between host and device that do not hold up the device, nor the thread that launches its work."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device; to a GPU by way of pinned memory, without waiting for it.

    torch keeps the pinned memory until the copy is done.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class PinnedPieces:
    """Pinned memory by the piece. torch rounds each allocation up to a power of two, which for many tensors a little larger
    than one would pin nearly twice what they hold."""

    def __init__(self, block: int = 1 << 26) -> None:
        self._block, self._rest = block, torch.empty(0, dtype=torch.uint8)

    def take(self, size: int) -> Tensor:
        """(size,) uint8. A block is freed with the last of its pieces."""
        if size > len(self._rest):
            whole = max(self._block, 1 << (size - 1).bit_length())
            self._rest = torch.empty(whole, dtype=torch.uint8, pin_memory=True)
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


class Arriving:
    """A tensor on its way to the host."""

    def __init__(self, on_host: Tensor, done: torch.cuda.Event | None) -> None:
        self._on_host, self._done = on_host, done

    def wait(self) -> Tensor:
        """The tensor, once it is there. Waiting holds no lock of the interpreter."""
        if self._done is not None:
            self._done.synchronize()
        return self._on_host


class Readback:
    """Takes results of a GPU to the host on a stream of its own: they wait for the work before them, and not for what is
    launched after them. On the CPU there is nothing to do."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None

    def mark(self) -> torch.cuda.Event | None:
        """A point in the work that the calling thread has launched so far."""
        if self._stream is None:
            return None
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._stream.device))
        return event

    @contextmanager
    def after(self, mark: torch.cuda.Event | None) -> Iterator[None]:
        """What is launched inside goes to the own stream, after the mark.

        The tensors that it reads have to be kept until what it `start`s has arrived.
        """
        if self._stream is None or mark is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            self._stream.wait_event(mark)
            yield

    def start(self, tensor: Tensor) -> Arriving:
        """Begins to copy a contiguous tensor to the host."""
        if self._stream is None:
            return Arriving(tensor, None)
        on_host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        on_host.copy_(tensor, non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(tensor.device))
        return Arriving(on_host, done)
