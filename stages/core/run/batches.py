"""Work in batches as large as memory allows."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

# torch has a type for its own allocator alone. Other allocations fail with RuntimeError or AcceleratorError and the
# words of what was called: "CUDA error: out of memory", "CUDA driver error: out of memory", "Triton Error [CUDA]: out of
# memory", CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, and of the CPU "can't
# allocate memory". A handle of cuBLAS that finds no memory for its workspace says that it is not initialised.
OUT_OF_MEMORY = re.compile(
    r"out of memory"
    r"|\b(CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT)_\w*ALLOC\w*FAILED"
    r"|CUBLAS_STATUS_NOT_INITIALIZED when calling `?cublas(Lt)?Create"
    r"|DefaultCPUAllocator: (can't allocate|not enough) memory"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed for want of device memory, so that a smaller one may succeed."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)) is not None


class Batches:
    """Cuts work into batches; where the device has no memory for one, batches halve from then on.

    Attributes:
        limit: the most items in one batch.
        what: the items in words, for the log.
    """

    def __init__(self, limit: int, what: str) -> None:
        self.limit, self.what = limit, what

    def run(self, items: Sequence[T], compute: Callable[[Sequence[T]], R]) -> Iterator[tuple[Sequence[T], R]]:
        """Yields (batch, what `compute` gave for it), in order, each item once.

        Args:
            compute: has no effect before it returns, so that a batch may be tried again.

        Raises:
            RuntimeError: torch's error where a single item does not fit.
        """
        start = 0
        while start < len(items):
            batch = items[start : start + self.limit]
            result = self._try(batch, compute)
            if result is None:
                self._halve(len(batch))
            else:
                yield batch, result[0]
                start += len(batch)

    def _try(self, batch: Sequence[T], compute: Callable[[Sequence[T]], R]) -> tuple[R] | None:
        try:
            return (compute(batch),)
        except RuntimeError as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            return None

    def _halve(self, size: int) -> None:
        """Outside the handler: the error holds on to the tensors of the failed batch."""
        import torch

        self.limit = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("out of device memory with %d %s at once: going on with %d", size, self.what, self.limit)
