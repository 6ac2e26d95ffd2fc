"""Which tracks a sweep follows in a frame, and where in the bank they read and write: known before the sweep starts.

The tables of many frames go to the device together, in a copy that nothing waits for: a sweep takes no index from
the host.

Legend: N tracks, n tracks of a frame, W columns of a table, M memories and P pointers that are read, the prompt's first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.tracking.recall import Reach, is_active, n_slots, recalled_ages, slot_of
from stages.tracking.transfers import to_device

FRAMES = 32  # whose tables go together: 0.7 MB at 64 tracks


class Columns:
    """What the columns of a table hold: places in the bank, and ages in frames."""

    def __init__(self, reach: Reach) -> None:
        self.writes = 0, 1  # the place of this frame's memory, of its pointer
        bounds = np.cumsum([2, *[reach.memory + 1] * 2, *[reach.pointer + 1] * 2]).tolist()
        self.memory, self.age, self.pointer, self.pointer_age = bounds[:4]  # where each begins
        self.width = bounds[4]


class Step(NamedTuple):
    """The tracks of a frame: those that are followed, by bucket, then those that start there.

    Attributes:
        tracks: n numbers of tracks.
        buckets: for each that is followed, how many memories and pointers it reads besides the prompt's.
        table_nW: int64, on the device; 0 where a track reads less than others.
    """

    tracks: list[int]
    buckets: list[tuple[int, int]]
    table_nW: Tensor


class Schedule:
    """The steps of a round: tracks with `prompts` in a video of `n_frames`."""

    def __init__(self, prompts: Sequence[int], n_frames: int, reach: Reach, device: torch.device) -> None:
        self.prompts, self.n_frames, self.reach, self.device = prompts, n_frames, reach, device
        self.columns = Columns(reach)
        self._steps: dict[tuple[int, bool], Step] = {}

    def step(self, frame: int, *, reverse: bool) -> Step:
        """The tracks of a frame, in tables on the device together with those of the frames that follow."""
        if (frame, reverse) not in self._steps:
            self._steps = self._plan(frame, reverse)
        return self._steps[frame, reverse]

    def _plan(self, first: int, reverse: bool) -> dict[tuple[int, bool], Step]:
        frames = (
            range(first, max(first - FRAMES, -1), -1) if reverse else range(first, min(first + FRAMES, self.n_frames))
        )
        orders = [self._order(frame, reverse) for frame in frames]
        table_nW = np.zeros((sum(len(tracks) for tracks, _ in orders), self.columns.width), np.int64)
        starts = np.cumsum([0, *(len(tracks) for tracks, _ in orders)])
        for frame, start, (tracks, buckets) in zip(frames, starts, orders):
            for row, track in zip(table_nW[start:], tracks):
                self._write(row, track, frame)
            for row, track in zip(table_nW[start:], tracks[: len(buckets)]):
                self._read(row, track, frame, reverse)
        on_device = to_device(torch.from_numpy(table_nW), self.device).split([len(tracks) for tracks, _ in orders])
        return {(frame, reverse): Step(*order, table) for frame, order, table in zip(frames, orders, on_device)}

    def _order(self, frame: int, reverse: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """The tracks of a frame, and the buckets of those that are followed."""
        followed = {
            n: (
                len(self._ages(n, frame, self.reach.memory, reverse)),
                len(self._ages(n, frame, self.reach.pointer, reverse)),
            )
            for n, prompt in enumerate(self.prompts)
            if is_active(prompt, frame, reverse=reverse)
        }
        order = sorted(followed, key=followed.__getitem__)
        starting = [] if reverse else [n for n, prompt in enumerate(self.prompts) if prompt == frame]
        return order + starting, [followed[n] for n in order]

    def _ages(self, track: int, frame: int, reach: int, reverse: bool) -> tuple[int, ...]:
        return recalled_ages(self.prompts[track], frame, self.n_frames, reach, reverse=reverse)

    def _place(self, track: int, frame: int, reach: int) -> int:
        """Where the bank keeps what a track saw in `frame`."""
        return track * n_slots(reach) + slot_of(self.prompts[track], frame, reach)

    def _write(self, row: np.ndarray, track: int, frame: int) -> None:
        row[0] = self._place(track, frame, self.reach.memory)
        row[1] = self._place(track, frame, self.reach.pointer)

    def _read(self, row: np.ndarray, track: int, frame: int, reverse: bool) -> None:
        """Memories from the oldest to the newest, pointers from the newest on, as the stock predictor has them."""
        sign, prompt, columns = 1 if reverse else -1, self.prompts[track], self.columns
        memory, pointer = self.reach.memory, self.reach.pointer
        ages_M = self._ages(track, frame, memory, reverse)[::-1]
        ages_P = self._ages(track, frame, pointer, reverse)
        places_M = [track * n_slots(memory), *(self._place(track, frame + sign * age, memory) for age in ages_M)]
        places_P = [track * n_slots(pointer), *(self._place(track, frame + sign * age, pointer) for age in ages_P)]
        for start, values in (
            (columns.memory, places_M),
            (columns.age, [0, *ages_M]),
            (columns.pointer, places_P),
            (columns.pointer_age, [abs(frame - prompt), *ages_P]),
        ):
            row[start : start + len(values)] = values
