"""The memory banks of the tracks of a round: what each of them has seen, by slot.

Legend: S slots of all tracks, B tracks of a batch or bucket, W columns of a table, M memories read, L = h·w tokens of a
memory, D = 64 channels of a memory, P pointers read, C = 256 channels of a pointer.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stages.tracking.recall import Reach, n_slots
from stages.tracking.schedule import Columns

MEMORY_DTYPE = torch.bfloat16  # in every precision, on every device, as the stock predictor keeps them


class Recalled(NamedTuple):
    """What the tracks of a bucket read at a frame: the same number each, so that no attention mask is needed.

    Attributes:
        memory_BMLD: bfloat16; the prompt's first.
        age_BM: int64, distance in frames; 0 = the prompt.
        pointer_BPC: float32; the prompt's first.
        pointer_age_BP: int64, distance in frames, the prompt's too.
    """

    memory_BMLD: Tensor
    age_BM: Tensor
    pointer_BPC: Tensor
    pointer_age_BP: Tensor


class Bank:
    """Memories and pointers of `n` tracks, at the places that rows of a schedule's tables name."""

    def __init__(
        self, n: int, reach: Reach, memory_shape: tuple[int, int], pointer_channels: int, device: torch.device
    ) -> None:
        self._columns = Columns(reach)
        self._memory_SLD = torch.zeros(n * n_slots(reach.memory), *memory_shape, dtype=MEMORY_DTYPE, device=device)
        self._pointer_SC = torch.zeros(n * n_slots(reach.pointer), pointer_channels, device=device)

    def write(self, table_BW: Tensor, memory_BLD: Tensor, pointer_BC: Tensor) -> None:
        """Remembers what the tracks of some rows saw in a frame."""
        memory, pointer = self._columns.writes
        self._memory_SLD[table_BW[:, memory]] = memory_BLD.to(MEMORY_DTYPE)
        self._pointer_SC[table_BW[:, pointer]] = pointer_BC

    def read(self, table_BW: Tensor, bucket: tuple[int, int]) -> Recalled:
        """What the tracks of some rows read: so many memories and pointers, and the prompt's."""

        def part(start: int, recalled: int) -> Tensor:
            return table_BW[:, start : start + recalled + 1]

        columns, (memories, pointers) = self._columns, bucket
        return Recalled(
            self._memory_SLD[part(columns.memory, memories)],
            part(columns.age, memories),
            self._pointer_SC[part(columns.pointer, pointers)],
            part(columns.pointer_age, pointers),
        )
