"""Puts the selected tracks of a video into the arrays of its track file.

Legend: N tracks, T frames, C = 256 token channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stages.core.media import masks
from stages.core.records import MaskSequence, Rle
from stages.core.state.frames import FrameFolder
from stages.core.state.prompt_file import Prompt
from stages.core.state.track_file import Tracks
from stages.tracking.greedy import Choice
from stages.tracking.labels import compare
from stages.tracking.tracker import TOKEN_CHANNELS


def assemble(
    chains: Sequence[Sequence[Choice]],
    prompts: Sequence[Prompt],
    frames: FrameFolder,
    n_expressions: int,
    annotations: Mapping[str, MaskSequence] | None,
    label_size: tuple[int, int],
    token_dtype: DTypeLike,
) -> tuple[Tracks, list[list[Rle]]]:
    """The record of a track file, and its masks track by track.

    Args:
        chains: what each chain selected, in the order of `stages.tracking.greedy.rows_of_chains`.
        annotations: None where there is no ground truth; then there are no labels.
        label_size: see `stages.tracking.labels.compare`.
        token_dtype: float32 or float16.
    """
    masklet_of = {choice.tracked: choice.masklet for chain in chains for choice in chain}  # in the order of choice
    rows_N, masklets = list(masklet_of), list(masklet_of.values())
    rles_NT = [masklet.rles_T for masklet in masklets]
    shape = (len(masklets), len(frames))
    flat = [rle for rles_T in rles_NT for rle in rles_T]
    tracks = Tracks(
        size=frames.size,
        tokens_NTC=_stack([m.tokens_TC for m in masklets], (*shape, TOKEN_CHANNELS), token_dtype),
        score_NT=_stack([m.score_T for m in masklets], shape, np.float16),
        iou_NT=_stack([m.iou_T for m in masklets], shape, np.float16),
        area_NT=masks.area(flat).reshape(shape),
        bbox_NT4=masks.boxes(flat).reshape(*shape, 4),
        prompt_frame_N=np.array([prompts[row].frame for row in rows_N], np.int16),
        prompt_id_N=np.array(rows_N, np.int32),
        expression_tracks=_expression_tracks(chains, rows_N, n_expressions),
        labels=compare(rles_NT, annotations, frames.size, label_size) if annotations is not None else None,
    )
    return tracks, rles_NT


def merged_prompts(chains: Sequence[Sequence[Choice]]) -> list[tuple[int, int]]:
    """Prompts served by another prompt's track: (row, row that was tracked)."""
    return [(choice.row, choice.tracked) for chain in chains for choice in chain if choice.row != choice.tracked]


def _expression_tracks(
    chains: Sequence[Sequence[Choice]], rows_N: Sequence[int], n_expressions: int
) -> tuple[NDArray[np.int32], ...]:
    """The tracks of an expression: those of the prompts that serve all, then those of its own prompts."""
    track_of = {row: n for n, row in enumerate(rows_N)}
    shared, *own = chains
    assert len(own) == n_expressions
    members = ([track_of[choice.tracked] for choice in (*shared, *chain)] for chain in own)
    return tuple(np.array(list(dict.fromkeys(tracks)), np.int32) for tracks in members)


def _stack(arrays: Sequence[NDArray[np.float32]], shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Straight into what is written: tokens of a long video are large, and there is no copy between."""
    stacked = np.empty(shape, dtype)
    for own, array in zip(stacked, arrays, strict=True):
        own[...] = array
    return stacked
