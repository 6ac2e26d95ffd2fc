"""Several processes that train together, started by torchrun: what they share and how.

The gradients of a step are sums over its samples, so processes add them up. DistributedDataParallel would
average over processes, and wait forever for one that has no sample of a step.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from stages.core.config.sections import Run
from stages.core.run.devices import lease_device
from stages.core.run.slots import visible_slots

T = TypeVar("T")
PATIENCE = timedelta(hours=2)  # while the others wait for one that still measures its share of the validation split


@dataclass(frozen=True)
class World:
    """This process among all: `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def gradients(self, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """The gradients of all parameters, zero where this process had no sample; none with a single process."""
        if self.size == 1:
            return []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

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
        """The results for dealt items from all processes, in the order of the items."""
        if self.size == 1:
            return list(mine)
        parts: list[list[T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(parts, list(mine))
        return [parts[i % self.size][i // self.size] for i in range(sum(map(len, parts)))]

    def agree(self, value: T) -> T:
        """The first process' value, for all; the others wait for it."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def first_decides(self, decide: Callable[[], T]) -> T:
        """The first process' decision, for all; the others wait for it."""
        decision = decide() if self.first else None
        result: T = self.agree(decision)  # type: ignore[assignment]
        return result

    def wait(self) -> None:
        """Blocks until all processes are here."""
        self.agree(None)


@contextmanager
def processes(run: Run) -> Iterator[tuple[str, World]]:
    """The device of this process, and its place among those that torchrun started.

    Raises:
        ValueError: torchrun started more processes on this machine than it has devices.
    """
    refuse_crowding(run.device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # NCCL wants a device for each
        run = run.model_copy(update={"slots_per_device": 1})
    with lease_device(run) as device, join(device) as world:
        yield device, world


def refuse_crowding(device: str) -> None:
    """Before a device is leased: a process without one would wait for it, and the others for that process.

    Args:
        device: `run.device`.
    """
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "cpu" or ranks == 1:
        return
    devices = len(visible_slots())
    if 0 < devices < ranks:
        raise ValueError(
            f"torchrun started {ranks} processes on this machine, which has {devices} visible CUDA devices: "
            f"start it with --nproc-per-node {devices}"
        )


@contextmanager
def join(device: str) -> Iterator[World]:
    """The processes that torchrun started; this one alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    if device == "cuda":  # the leased one, which is all that this process sees
        torch.cuda.set_device(0)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
