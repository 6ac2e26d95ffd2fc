"""The memory banks of the tracks of a round: what each of them has seen, by slot.

Legend: N tracks, B tracks of a bucket, S slots, M memories read, L = h·w tokens of a memory, D = 64 channels
of a memory, P pointers read, C = 256 channels of a pointer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stages.tracking.recall import Reach, n_slots, recalled_ages, slot_of

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
    """Memories and pointers of N tracks, each with its own prompt frame."""

    def __init__(
        self,
        prompts: Sequence[int],
        n_frames: int,
        reach: Reach,
        memory_shape: tuple[int, int],
        pointer_channels: int,
        device: torch.device,
    ) -> None:
        self.prompts, self.n_frames, self.reach = prompts, n_frames, reach
        shape = (len(prompts), n_slots(reach.memory), *memory_shape)
        self._memory_NSLD = torch.zeros(shape, dtype=MEMORY_DTYPE, device=device)
        self._pointer_NSC = torch.zeros(len(prompts), n_slots(reach.pointer), pointer_channels, device=device)

    def write(self, tracks: Sequence[int], frame: int, memory_BLD: Tensor, pointer_BC: Tensor) -> None:
        """Remembers what the tracks saw in `frame`."""
        rows = self._index(tracks)
        self._memory_NSLD[rows, self._slots(tracks, frame, self.reach.memory)] = memory_BLD.to(MEMORY_DTYPE)
        self._pointer_NSC[rows, self._slots(tracks, frame, self.reach.pointer)] = pointer_BC

    def bucket(self, track: int, frame: int, *, reverse: bool) -> tuple[int, int]:
        """How many memories and pointers a track reads at `frame`, besides the prompt's."""
        return (
            len(self.ages(track, frame, self.reach.memory, reverse=reverse)),
            len(self.ages(track, frame, self.reach.pointer, reverse=reverse)),
        )

    def ages(self, track: int, frame: int, reach: int, *, reverse: bool) -> tuple[int, ...]:
        return recalled_ages(self.prompts[track], frame, self.n_frames, reach, reverse=reverse)

    def read(self, tracks: Sequence[int], frame: int, *, reverse: bool) -> Recalled:
        """What tracks of one bucket read at `frame`."""
        rows_B1 = self._index(tracks)[:, None]
        ages_BM = [self.ages(n, frame, self.reach.memory, reverse=reverse)[::-1] for n in tracks]
        ages_BP = [self.ages(n, frame, self.reach.pointer, reverse=reverse) for n in tracks]
        slots_BM = [self._read_slots(n, frame, ages, self.reach.memory, reverse) for n, ages in zip(tracks, ages_BM)]
        slots_BP = [self._read_slots(n, frame, ages, self.reach.pointer, reverse) for n, ages in zip(tracks, ages_BP)]
        from_prompt = [abs(frame - self.prompts[n]) for n in tracks]
        return Recalled(
            self._memory_NSLD[rows_B1, self._index(slots_BM)],
            self._index([(0, *ages) for ages in ages_BM]),
            self._pointer_NSC[rows_B1, self._index(slots_BP)],
            self._index([(age, *ages) for age, ages in zip(from_prompt, ages_BP)]),
        )

    def _read_slots(self, track: int, frame: int, ages: Sequence[int], reach: int, reverse: bool) -> list[int]:
        sign = 1 if reverse else -1
        return [0, *(slot_of(self.prompts[track], frame + sign * age, reach) for age in ages)]

    def _slots(self, tracks: Sequence[int], frame: int, reach: int) -> Tensor:
        return self._index([slot_of(self.prompts[n], frame, reach) for n in tracks])

    def _index(self, numbers: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=self._memory_NSLD.device)
