"""Streams, events, graphs and pinned memory of the CUDA double.

Everything runs at once, in order, whatever stream it is given to, but for what the host may see: a copy to the host that
does not block fills its target with nonsense, and with the values only when the host has waited for it. A pinned buffer
that is overwritten before the copy from it was waited for is an error, which the real device would answer with wrong
numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

NONSENSE = 0x5A


class Pinned:
    """Which host tensors are pinned; views of them are too."""

    def __init__(self) -> None:
        self._storages: dict[int, StorageWeakRef] = {}
        self._sizes: dict[int, int] = {}

    def mark(self, tensor: torch.Tensor) -> torch.Tensor:
        reference = StorageWeakRef(tensor.untyped_storage())
        self._storages[reference.cdata] = reference
        self._sizes[reference.cdata] = tensor.untyped_storage().nbytes()
        return tensor

    @property
    def bytes(self) -> int:
        """What is pinned now: torch takes powers of two."""
        alive = [cdata for cdata, reference in self._storages.items() if not reference.expired()]
        return sum(1 << (self._sizes[cdata] - 1).bit_length() for cdata in alive if self._sizes[cdata])

    def holds(self, tensor: torch.Tensor) -> bool:
        reference = self._storages.get(tensor.untyped_storage()._cdata)
        return reference is not None and not reference.expired()


class Queue:
    """Copies that the host has not waited for, in order."""

    def __init__(self) -> None:
        self.issued = 0
        self._pending: list[tuple[int, Callable[[], None]]] = []

    def to_host(self, target: torch.Tensor, values: torch.Tensor) -> None:
        kept = values.detach().clone()
        target.view(torch.uint8).fill_(NONSENSE) if target.is_contiguous() and target.dim() else target.zero_()
        self._add(lambda: target.copy_(kept))

    def to_device(self, buffer: torch.Tensor) -> None:
        before = buffer.detach().clone()

        def check() -> None:
            if not torch.equal(before.nan_to_num(), buffer.nan_to_num()):
                raise RuntimeError("a pinned buffer was overwritten before the copy from it was waited for")

        self._add(check)

    def _add(self, end: Callable[[], Any]) -> None:
        self.issued += 1
        self._pending.append((self.issued, end))

    def wait(self, until: int | None = None) -> None:
        """Ends what was issued, up to a number of copies."""
        ready = [end for number, end in self._pending if until is None or number <= until]
        self._pending = self._pending[len(ready) :]
        with torch.inference_mode():  # or tensors that were made within it could not be filled
            for end in ready:
                end()


class Graph:
    """A captured sequence of kernels: replayed, each computes again from what its inputs hold by then."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.steps: list[tuple[Any, Any, Any, Any]] = []
        self.replayed: Callable[[], None] = lambda: None

    def record(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        self.steps.append((func, args, kwargs, out))

    def replay(self) -> None:
        self.replayed()
        for func, args, kwargs, out in self.steps:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    def reset(self) -> None:
        self.steps = []

    def pool(self) -> tuple[int, int]:
        return (0, 0)


def stream_types(queue: Queue, stops: Callable[[], None]) -> tuple[type, type]:
    """The double's torch.cuda.Event and torch.cuda.Stream; `stops` is called where the host waits."""

    class Event:
        def __init__(self, *_: Any, **__: Any) -> None:
            self._mark = 0

        def record(self, stream: Any = None) -> None:
            self._mark = queue.issued

        def synchronize(self) -> None:
            stops()
            queue.wait(self._mark)

        def query(self) -> bool:
            queue.wait(self._mark)
            return True

        def wait(self, stream: Any = None) -> None: ...

        def elapsed_time(self, end: Any) -> float:
            return 1.0

    class Stream:
        device = torch.device("cuda", 0)
        cuda_stream = 0

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def synchronize(self) -> None:
            stops()
            queue.wait()

        def record_event(self, event: Any = None) -> Any:
            event = event or Event()
            event.record(self)
            return event

        def query(self) -> bool:
            return True

        def wait_stream(self, other: Any) -> None: ...

        def wait_event(self, event: Any) -> None: ...

        def __enter__(self) -> "Stream":
            return self

        def __exit__(self, *_: object) -> None: ...

    return Event, Stream


@contextmanager
def on_stream(stream: Any) -> Iterator[None]:
    """torch.cuda.stream."""
    yield
