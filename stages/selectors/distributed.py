"""Several processes that train one selector, started by torchrun: what they share and how.

The gradients of a step are sums over its samples, so processes add them up. DistributedDataParallel would
average over processes, and wait for ever for one that has no sample of a step.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
PATIENCE = timedelta(hours=2)  # of the others, while one of them measures its share of the validation split


@dataclass(frozen=True)
class World:
    """This process among all: `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces every tensor by its sum over the processes, in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def deal(self, items: Sequence[T]) -> Sequence[T]:
        """This process' share of some items."""
        return items[self.rank :: self.size]

    def gather(self, mine: Sequence[T]) -> list[T]:
        """The results of what was dealt, of all processes, in the order of the items."""
        if self.size == 1:
            return list(mine)
        parts: list[list[T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(parts, list(mine))
        return [parts[i % self.size][i // self.size] for i in range(sum(map(len, parts)))]

    def first_decides(self, decide: Callable[[], T]) -> T:
        """What the first process decides, for all; the others wait for it."""
        if self.size == 1:
            return decide()
        decision = [decide() if self.first else None]
        dist.broadcast_object_list(decision)
        result: T = decision[0]  # type: ignore[assignment]
        return result


@contextmanager
def join(device: str) -> Iterator[World]:
    """The processes that torchrun started; this one alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    if device == "cuda":  # a scheduler that chose the devices shows all of them to every process
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
