"""The greedy selection of tracks (SOLA, arXiv 2412.01136): largest prompts first (or the surest), each object once.

Pure logic. A `GreedyChain` says which prompts to track next and drops those that the new tracks cover.
Chains do not depend on each other: a round asks each of them once and tracks all of their batches together,
which selects what one chain after the other would.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.core.config.sections import Tracks
from stages.core.media import masks
from stages.core.records import Source
from stages.core.run import progress
from stages.core.state.prompt_file import SERVES_ALL, Prompt
from stages.core.tables import SOURCES
from stages.tracking.sharing import SharedPrompts
from stages.tracking.tracker import Masklet, PromptBatch

# Batches of masks → their masklets (`Tracker.track` of one video).
Track = Callable[[Sequence[PromptBatch]], Sequence[Sequence[Masklet]]]


@dataclass(frozen=True)
class Batch:
    """Prompts of one frame to be tracked together: rows of the prompt file."""

    frame: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """A prompt that a chain chose, by its row, and its track.

    `tracked` is the row whose mask was followed: another than `row` where prompts are shared.
    """

    row: int
    tracked: int
    masklet: Masklet


class GreedyChain:
    """One run of the selection over some prompts of a video.

    Call `next_batch`, track the batch, give its tracks to `cover`; repeat until `next_batch` returns None.
    Prompts without a pixel are skipped.

    Args:
        prompts: all prompts of the file.
        rows: those of them that this chain selects from.
        per_pass: at most this many prompts per batch.
        covered_iou: a remaining prompt whose IoU with a new track, in the prompt's frame, exceeds this is
            dropped; None = every prompt becomes a track.
        cap: at most this many tracks; None = no limit.
        first: "largest": by falling area; "surest": by falling predicted IoU. Ties go to the lower row.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        *,
        per_pass: int,
        covered_iou: float | None,
        cap: int | None,
        first: Literal["largest", "surest"] = "largest",
    ) -> None:
        area = masks.area([prompts[row].mask for row in rows]).astype(int)
        key = area if first == "largest" else np.array([prompts[row].mask_score for row in rows])
        self._left = [rows[i] for i in np.argsort(-key, kind="stable") if area[i] > 0]  # in the order of choice
        self._prompts = prompts
        self._per_pass = per_pass
        self._covered_iou = covered_iou
        self._room = len(self._left) if cap is None else cap

    @property
    def left(self) -> int:
        """Prompts that may still become tracks."""
        return min(len(self._left), self._room)

    def next_batch(self) -> Batch | None:
        """The first remaining prompt and the next of its frame; they no longer remain."""
        if not self._left or self._room == 0:
            return None
        frame = self._prompts[self._left[0]].frame
        same_frame = [row for row in self._left if self._prompts[row].frame == frame]
        rows = tuple(same_frame[: min(self._per_pass, self._room)])
        self._left = [row for row in self._left if row not in rows]
        self._room -= len(rows)
        return Batch(frame, rows)

    def next_batches(self) -> list[Batch]:
        """All batches that can be tracked before any is covered: without a filter, all that are left."""
        batches: list[Batch] = []
        while (batch := self.next_batch()) is not None:
            batches.append(batch)
            if self._covered_iou is not None:
                break
        return batches

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
    prompts: Sequence[Prompt], source: Source, n_expressions: int, settings: Tracks, track: Track
) -> list[list[Choice]]:
    """Runs every chain of a source; returns what each selected, in the order of choice (see `rows_of_chains`).

    Where the source's prompts are filtered, those that a track covers are dropped; otherwise each becomes a track.
    """
    chains = [
        GreedyChain(
            prompts,
            rows,
            per_pass=settings.prompts_per_pass,
            covered_iou=settings.covered_iou if SOURCES[source].filtered else None,
            cap=settings.max_tracks[source],
            first=SOURCES[source].first,
        )
        for rows in rows_of_chains(prompts, n_expressions)
    ]
    shared = SharedPrompts(prompts, settings.share_iou if settings.share_prompts == "iou" else None)
    return run_chains(chains, prompts, shared, track)


def run_chains(
    chains: Sequence[GreedyChain], prompts: Sequence[Prompt], shared: SharedPrompts, track: Track
) -> list[list[Choice]]:
    """Runs chains to their ends, each round a batch of every one; returns what each selected."""
    chosen: list[list[Choice]] = [[] for _ in chains]
    masklet_of: dict[int, Masklet] = {}
    total = sum(chain.left for chain in chains)
    while any(batches := [chain.next_batches() for chain in chains]):
        flat = [batch for own in batches for batch in own]
        tracked_of = {row: shared.serving(row) for batch in flat for row in batch.rows}
        left = sum(chain.left for chain in chains)
        with progress.part(1 - (left + len(tracked_of)) / total, 1 - left / total):
            masklet_of |= _track_new(flat, tracked_of, prompts, track)
        for chain, own, choices in zip(chains, batches, chosen):
            selected = [
                Choice(row, tracked_of[row], masklet_of[tracked_of[row]]) for batch in own for row in batch.rows
            ]
            chain.cover([choice.masklet for choice in selected])
            choices += selected
    return chosen


def _track_new(
    batches: Sequence[Batch], tracked_of: Mapping[int, int], prompts: Sequence[Prompt], track: Track
) -> dict[int, Masklet]:
    """Tracks the rows that serve themselves."""
    todo = [(batch.frame, [row for row in batch.rows if tracked_of[row] == row]) for batch in batches]
    todo = [(frame, rows) for frame, rows in todo if rows]
    masklets_of_batch = (
        track([PromptBatch(frame, [prompts[row].mask for row in rows]) for frame, rows in todo]) if todo else []
    )
    assert [len(masklets) for masklets in masklets_of_batch] == [len(rows) for _, rows in todo]
    return {
        row: masklet for (_, rows), masklets in zip(todo, masklets_of_batch) for row, masklet in zip(rows, masklets)
    }


def rows_of_chains(prompts: Sequence[Prompt], n_expressions: int) -> list[list[int]]:
    """The rows each chain selects from: first those that serve all expressions, then those of each expression."""
    served = range(SERVES_ALL, n_expressions)
    return [[row for row, prompt in enumerate(prompts) if prompt.expression == e] for e in served]
