"""Whole tracks that a prompt source gives: nothing is followed, and there are no object tokens.

Legend: T frames, C = 256 channels of an object token.
"""

from collections.abc import Sequence

import numpy as np

from stages.core.media import masks
from stages.core.records import Rle
from stages.core.state.prompt_file import Prompt
from stages.tracking.greedy import Choice, rows_of_chains
from stages.tracking.tracker import TOKEN_CHANNELS, Masklet

SEEN, ABSENT = 10.0, -10.0  # object-score logits, as on a prompt's own frame


def given_tracks(
    prompts: Sequence[Prompt], n_expressions: int, cap: int | None, n_frames: int, size: tuple[int, int]
) -> list[list[Choice]]:
    """What each chain selects: of its tracks the surest, in their order.

    Args:
        prompts: those of one expression with one `annotation` are one object's masks.
        cap: at most this many tracks per chain; None = all.
    """
    chains: list[list[Choice]] = []
    known: dict[tuple[tuple[int, str], ...], Choice] = {}  # sentences that name the same thing share its tracks
    for rows in rows_of_chains(prompts, n_expressions):
        tracks: dict[str, list[int]] = {}
        for row in rows:
            tracks.setdefault(prompts[row].annotation, []).append(row)
        chain: list[Choice] = []
        for of_track in _surest(list(tracks.values()), prompts, cap):
            key = tuple((prompts[row].frame, prompts[row].mask["counts"]) for row in of_track)
            tracked = known.setdefault(key, _choice(of_track, prompts, n_frames, size))
            chain.append(Choice(of_track[0], tracked.row, tracked.masklet))
        chains.append(chain)
    return chains


def _surest(tracks: Sequence[list[int]], prompts: Sequence[Prompt], cap: int | None) -> list[list[int]]:
    order = sorted(range(len(tracks)), key=lambda n: -prompts[tracks[n][0]].box_score)
    return [tracks[n] for n in sorted(order[:cap])]


def _choice(rows: Sequence[int], prompts: Sequence[Prompt], n_frames: int, size: tuple[int, int]) -> Choice:
    rles_T: list[Rle] = [masks.empty(size)] * n_frames
    score_T = np.full(n_frames, ABSENT, np.float32)
    for row in rows:
        rles_T[prompts[row].frame] = prompts[row].mask
        score_T[prompts[row].frame] = SEEN
    iou_T = (score_T > 0).astype(np.float32)
    return Choice(rows[0], rows[0], Masklet(rles_T, np.zeros((n_frames, TOKEN_CHANNELS), np.float32), score_T, iou_T))
