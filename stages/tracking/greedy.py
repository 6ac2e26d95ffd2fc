"""The greedy selection of tracks (SOLA, arXiv 2412.01136): big prompts first, each object once.

Pure logic. A `GreedyChain` says which prompts to track next and drops those that the new tracks cover;
chains do not depend on each other, so that an engine may advance many together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core import masks
from stages.core.prompt_file import Prompt
from stages.core.records import Rle, Source
from stages.core.settings import Tracks
from stages.tracking.tracker import Masklet

# (frame, masks at frame size) → one masklet a mask.
Propagate = Callable[[int, Sequence[Rle]], Sequence[Masklet]]


@dataclass(frozen=True)
class Batch:
    """Prompts of one frame to be tracked together: rows of the prompt file."""

    frame: int
    rows: tuple[int, ...]


class GreedyChain:
    """One run of the selection over some prompts of a video.

    Ask `next_batch`, track it, tell `cover`; until `next_batch` gives None. Prompts without a pixel are
    passed over.

    Args:
        prompts: all prompts of the file.
        rows: those of them that this chain selects from.
        per_pass: prompts of a batch, at most.
        covered_iou: a prompt left whose IoU with a new track, in the prompt's frame, exceeds this is
            dropped; None = every prompt becomes a track.
        cap: tracks of the chain, at most; None = no limit.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        *,
        per_pass: int,
        covered_iou: float | None,
        cap: int | None,
    ) -> None:
        area = masks.area([prompts[row].mask for row in rows]).astype(int)
        # Falling area, ties by row: what is left, always in the order of choice.
        self._left = [rows[i] for i in np.argsort(-area, kind="stable") if area[i] > 0]
        self._prompts = prompts
        self._per_pass = per_pass
        self._covered_iou = covered_iou
        self._room = len(self._left) if cap is None else cap

    def next_batch(self) -> Batch | None:
        """The biggest prompt left and the next biggest of its frame; they are no longer left."""
        if not self._left or self._room == 0:
            return None
        frame = self._prompts[self._left[0]].frame
        same_frame = [row for row in self._left if self._prompts[row].frame == frame]
        rows = tuple(same_frame[: min(self._per_pass, self._room)])
        self._left = [row for row in self._left if row not in rows]
        self._room -= len(rows)
        return Batch(frame, rows)

    def cover(self, masklets: Sequence[Masklet]) -> None:
        """Drops the prompts that the batch's tracks cover."""
        if self._covered_iou is None:
            return
        covered: set[int] = set()
        for frame in {self._prompts[row].frame for row in self._left}:
            rows = [row for row in self._left if self._prompts[row].frame == frame]
            tracked = [masklet.rles_T[frame] for masklet in masklets]
            iou_PN = masks.iou_matrix([self._prompts[row].mask for row in rows], tracked)
            covered |= {row for row, iou_N in zip(rows, iou_PN) if (iou_N > self._covered_iou).any()}
        self._left = [row for row in self._left if row not in covered]


def select_tracks(
    prompts: Sequence[Prompt], source: Source, n_expressions: int, settings: Tracks, propagate: Propagate
) -> list[list[tuple[int, Masklet]]]:
    """Runs every chain of a source; returns what each selected, as (row of the prompt, its track).

    Every prompt of ground truth becomes a track; those of the other sources are filtered.
    """
    chains = (
        GreedyChain(
            prompts,
            rows,
            per_pass=settings.prompts_per_pass,
            covered_iou=None if source == "gt" else settings.covered_iou,
            cap=getattr(settings.max_tracks, source),
        )
        for rows in rows_of_chains(source, prompts, n_expressions)
    )
    return [run_chain(chain, prompts, propagate) for chain in chains]


def run_chain(chain: GreedyChain, prompts: Sequence[Prompt], propagate: Propagate) -> list[tuple[int, Masklet]]:
    """Runs a chain to its end; returns (row of the prompt, its track) in the order of choice."""
    selected: list[tuple[int, Masklet]] = []
    while (batch := chain.next_batch()) is not None:
        masklets = propagate(batch.frame, [prompts[row].mask for row in batch.rows])
        assert len(masklets) == len(batch.rows)
        chain.cover(masklets)
        selected += zip(batch.rows, masklets)
    return selected


def rows_of_chains(source: Source, prompts: Sequence[Prompt], n_expressions: int) -> list[list[int]]:
    """The rows each chain selects from: gdino has a chain an expression, the others one a video."""
    if source != "gdino":
        return [list(range(len(prompts)))]
    return [[row for row, p in enumerate(prompts) if p.expression == e] for e in range(n_expressions)]
