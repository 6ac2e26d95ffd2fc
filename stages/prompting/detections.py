"""What a detector said about a video's tracks: its scores for each sentence, found by matching prompts with tracks.

A prompt serves one sentence and carries the detector's score for it. It speaks for every track, of whatever source,
that has much the same mask in the prompt's frame.

Legend: E expressions, M tracks, P prompts of any sentence.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Rle, Source, TrackId, Video
from stages.core.state.cache import CacheError, remedy
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS, Layout
from stages.core.state.prompt_file import SERVES_ALL, Prompt, read_prompts
from stages.core.state.track_file import read_masks_at


@dataclass(frozen=True)
class Detections:
    """Scores of the prompts that match a track, float32 (E, M): the best and the mean; NaN where none does."""

    best_EM: NDArray[np.float32]
    mean_EM: NDArray[np.float32]


def match_detections(
    layout: Layout, video: Video, tracks: Sequence[TrackId], source: Source, match_iou: float
) -> Detections:
    """A prompt of an expression matches a track whose mask in the prompt's frame has an IoU ≥ `match_iou` with its own.

    Prompts of no expression in particular, and prompts without a detector's score, say nothing and are left out.

    Args:
        tracks: rows of the video's track files, of any sources.
        source: whose prompt file is read.
        match_iou: above 0, so that no prompt matches a track that is absent.

    Raises:
        CacheError: a file is missing or damaged, or was made for other expressions or other frames.
    """
    assert match_iou > 0
    path = layout.file(GENERATE_PROMPTS, video.id, source)
    prompts = [p for p in read_prompts(path) if p.expression != SERVES_ALL and not np.isnan(p.box_score)]
    if any(prompt.expression >= len(video.expressions) for prompt in prompts):
        raise CacheError(f"{path}: holds prompts of other expressions than the index; {remedy(GENERATE_PROMPTS.name)}")
    iou_PM = _ious(layout, video, tracks, prompts)
    return _scores(prompts, iou_PM >= match_iou, len(video.expressions))


# Indices of prompts and of tracks that are in one frame, and their masks there.
Meeting = tuple[NDArray[np.integer], NDArray[np.integer], list[Rle], list[Rle]]


def meetings(layout: Layout, video: Video, tracks: Sequence[TrackId], prompts: Sequence[Prompt]) -> Iterator[Meeting]:
    """Per source of tracks and frame of prompts: these prompts, and the tracks of that source that are seen there."""
    frames_P = np.array([prompt.frame for prompt in prompts], int)
    frames = np.unique(frames_P).tolist()
    for source in dict.fromkeys(track.source for track in tracks) if frames else ():
        columns = np.array([m for m, track in enumerate(tracks) if track.source == source])
        seen = read_masks_at(layout.file(BUILD_TRACKS, video.id, source), [tracks[m].track for m in columns], frames)
        for frame, visible in zip(frames, seen, strict=True):
            rows = np.flatnonzero(frames_P == frame)
            yield rows, columns[list(visible)], [prompts[int(p)].mask for p in rows], list(visible.values())


def _ious(layout: Layout, video: Video, tracks: Sequence[TrackId], prompts: Sequence[Prompt]) -> NDArray[np.float64]:
    """(P, M) IoU of each prompt's mask with each track's mask in its frame; 0 where the track is absent."""
    iou_PM = np.zeros((len(prompts), len(tracks)))
    for rows, columns, prompted, tracked in meetings(layout, video, tracks, prompts):
        iou_PM[np.ix_(rows, columns)] = masks.iou_matrix(prompted, tracked)
    return iou_PM


def _scores(prompts: Sequence[Prompt], matches_PM: NDArray[np.bool_], n_expressions: int) -> Detections:
    """Best and mean score of the matches of each expression's prompts."""
    shape = (n_expressions, matches_PM.shape[1])
    expression_P = np.array([prompt.expression for prompt in prompts], int)
    score_P1 = np.array([prompt.box_score for prompt in prompts], np.float64).reshape(-1, 1)
    best_EM, sum_EM, count_EM = np.full(shape, -np.inf), np.zeros(shape), np.zeros(shape)
    np.maximum.at(best_EM, expression_P, np.where(matches_PM, score_P1, -np.inf))
    np.add.at(sum_EM, expression_P, np.where(matches_PM, score_P1, 0))
    np.add.at(count_EM, expression_P, matches_PM)
    best_EM[count_EM == 0] = np.nan
    mean_EM = np.divide(sum_EM, count_EM, out=np.full(shape, np.nan), where=count_EM > 0)
    return Detections(best_EM.astype(np.float32), mean_EM.astype(np.float32))
