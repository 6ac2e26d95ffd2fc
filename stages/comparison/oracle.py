"""The oracle: the union of tracks that fits the truth best, found by search.

It bounds every way of choosing among these tracks, since their answers are unions of them too: none can exceed
the oracle's (J + F) / 2, the mean over the frames that count, on any expression. The bound is of the tracks, not
of the method that made them.

The search is exact: greedy steps and exchanges find a good union, then branch and bound either finds a better one
or proves that there is none. A branch is cut when even its bound cannot win: of the unions X with
chosen ⊆ X ⊆ chosen ∪ rest,

    J ≤ |truth ∩ (chosen ∪ rest)| / |truth ∪ chosen|
    F ≤ 2R / (1 + R), R = the truth's boundary pixels that a boundary of chosen or rest matches, since the
        boundary of a union consists of boundary pixels of its members.

Its work is bounded; past that the best union found so far is returned and called unproven.

Legend: T frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.metrics import clips
from stages.metrics.boundary import clip_f
from stages.metrics.clips import Clip

# What branch and bound may cost a target, whatever the size of its masks: a second or a few. A step walks along the
# turns of about one track (stages/metrics/turns.py); OVERHEAD is its fixed cost, in turns too.
WORK, OVERHEAD = 1 << 25, 1 << 10
MARGIN = 1e-12  # the same numbers summed in another order


@dataclass(frozen=True)
class Best:
    """The best union found.

    Attributes:
        chosen: indices of its tracks, ascending; () where the empty answer is best.
        jf: its (J + F) / 2.
        proven: no union of these tracks is better.
    """

    chosen: tuple[int, ...]
    jf: float
    proven: bool


def best_union(tracks: Sequence[Clip], truth: Clip, radius: int, work: int = WORK) -> Best:
    """The tracks whose union has the best mean over frames of (J + F) / 2 against `truth`.

    Ties go to the union found first: greedily, and so with few tracks.

    Args:
        tracks: with as many frames as `truth`, at least one.
        radius: of F, in pixels.
        work: limit of branch and bound.
    """
    search = _Search(tracks, truth, radius)
    search.climb()
    n_turns = sum(len(track.turns) for track in tracks) // max(len(tracks), 1)
    proven = search.prove(work // (OVERHEAD + n_turns))
    return Best(tuple(sorted(search.chosen)), search.best / 2, proven)


class _Search:
    """The best choice so far, as indices and as J + F."""

    def __init__(self, tracks: Sequence[Clip], truth: Clip, radius: int) -> None:
        self.tracks, self.truth, self.radius = tracks, truth, radius
        self.nothing = clips.without(truth, truth)
        self.edge_T = clips.matches(truth, truth, 0)[:, 1]
        self.chosen: tuple[int, ...] = ()
        self.best = -1.0
        self.consider((), self.nothing)

    def consider(self, chosen: tuple[int, ...], union: Clip) -> bool:
        """Keeps a choice that is better than the best; F is computed only where J does not decide it."""
        shared_T = clips.intersection(union, self.truth)
        j = float(_ratio(shared_T, union.area + self.truth.area - shared_T).mean())
        if j + 1 <= self.best + MARGIN:
            return False
        value = j + float(clip_f(union, self.truth, self.radius).mean())
        if value <= self.best + MARGIN:
            return False
        self.chosen, self.best = chosen, value
        return True

    def climb(self) -> None:
        """Adds, drops or exchanges a track, whichever helps most, until nothing helps."""
        improved = True
        while improved:
            improved = False
            for chosen in _neighbours(self.chosen, len(self.tracks)):
                improved |= self.consider(chosen, self.union(chosen))

    def union(self, chosen: Sequence[int]) -> Clip:
        joined = self.nothing
        for index in chosen:
            joined = clips.union(joined, self.tracks[index])
        return joined

    def prove(self, steps: int) -> bool:
        """Branch and bound over all choices, most promising tracks first; False where the steps run out."""
        order = self._order()
        rest, reached = self._rest(order), self._reached(order)
        stack: list[tuple[int, tuple[int, ...], Clip, NDArray[np.int64]]] = []
        stack.append((0, (), self.nothing, np.zeros(len(self.truth), np.int64)))
        while stack:
            depth, chosen, union, matched_T = stack.pop()
            if depth == len(order):
                continue
            if steps == 0:
                return False
            steps -= 1
            whole = clips.union(union, rest[depth])
            if self._bound(union, whole, matched_T + reached[depth]) <= self.best + MARGIN:
                continue
            joined = clips.union(union, self.tracks[order[depth]])
            stack.append((depth + 1, chosen, union, matched_T))
            if (joined.area > union.area).any():  # otherwise the union is the same with and without it
                with_it = (*chosen, order[depth])
                self.consider(with_it, joined)
                stack.append((depth + 1, with_it, joined, matched_T + reached[depth] - reached[depth + 1]))
        return True

    def _order(self) -> list[int]:
        """Indices of the tracks with a pixel, those that share most pixels with the truth first."""
        shared = [int(clips.intersection(track, self.truth).sum()) for track in self.tracks]
        seen = [i for i, track in enumerate(self.tracks) if track.area.any()]
        return sorted(seen, key=lambda i: -shared[i])

    def _rest(self, order: Sequence[int]) -> list[Clip]:
        """The union of the tracks from each place of the order on."""
        unions = [self.nothing]
        for index in reversed(order):
            unions.append(clips.union(unions[-1], self.tracks[index]))
        return unions[::-1]

    def _reached(self, order: Sequence[int]) -> list[NDArray[np.int64]]:
        """(T,) pixels of the truth's boundary that tracks from each place of the order on match, one by one."""
        sums = [np.zeros(len(self.truth), np.int64)]
        for index in reversed(order):
            sums.append(sums[-1] + clips.matches(self.tracks[index], self.truth, self.radius)[:, 3])
        return sums[::-1]

    def _bound(self, union: Clip, whole: Clip, reached_T: NDArray[np.int64]) -> float:
        """An upper bound on J + F of the unions between `union` and `whole`."""
        shared_T = clips.intersection(union, self.truth)
        most_T = clips.intersection(whole, self.truth)
        j_T = _ratio(most_T, union.area + self.truth.area - shared_T)
        recall_T = np.minimum(reached_T, self.edge_T) / np.maximum(self.edge_T, 1)
        # Without a boundary of the truth F is 1 or 0: 1 for a union that has none either, because it is empty or full.
        bare_T = (union.area == 0) | (whole.area == whole.n_pixels)
        f_T = np.where(self.edge_T > 0, 2 * recall_T / (1 + recall_T), bare_T)
        return float(j_T.mean()) + float(f_T.mean())


def _neighbours(chosen: tuple[int, ...], n_tracks: int) -> Iterator[tuple[int, ...]]:
    """Choices that differ by one track more, one less, or one exchanged."""
    others = [i for i in range(n_tracks) if i not in chosen]
    yield from ((*chosen, new) for new in others)
    for old in chosen:
        kept = tuple(i for i in chosen if i != old)
        yield kept
        yield from ((*kept, new) for new in others)


def _ratio(part_T: NDArray[np.int64], whole_T: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 where both are empty."""
    return np.where(whole_T > 0, part_T / np.maximum(whole_T, 1), 1.0)
