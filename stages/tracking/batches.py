"""Work in batches as large as memory allows."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")


class Batches:
    """Cuts work into batches; where the device has no memory for one, batches halve from then on.

    Attributes:
        limit: items of a batch, at most.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def run(self, items: Sequence[T], compute: Callable[[Sequence[T]], R]) -> Iterator[tuple[Sequence[T], R]]:
        """Yields (batch, what `compute` gave for it), in order, each item once.

        Args:
            compute: has no effect before it returns, so that a batch may be tried again.

        Raises:
            torch.OutOfMemoryError: a single item does not fit.
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
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            return None

    def _halve(self, size: int) -> None:
        """Outside the handler: the error holds on to the tensors of the failed batch."""
        self.limit = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("out of device memory with %d tracks at once: going on with %d", size, self.limit)
