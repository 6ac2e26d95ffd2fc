"""How well tracks agree with the masks that were decoded for each sentence.

Legend: E expressions, M tracks, P decoded masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Source, TrackId, Video
from stages.core.state.cache import CacheError, remedy
from stages.core.state.graph import GENERATE_PROMPTS, Layout
from stages.core.state.prompt_file import SERVES_ALL, Prompt, read_prompts
from stages.prompting.detections import meetings

Measure = Literal["iou", "inside"]


@dataclass(frozen=True)
class Agreement:
    """Over the frames in which a sentence has a decoded mask.

    Attributes:
        mean_EM: float64; nan where no frame counts.
        frames_EM: how many frames count.
    """

    mean_EM: NDArray[np.float64]
    frames_EM: NDArray[np.int64]


def agreement(layout: Layout, video: Video, tracks: Sequence[TrackId], source: Source, measure: Measure) -> Agreement:
    """The mean over frames of how much a track and the sentence's mask have in common.

    iou: IoU; a frame in which both are empty does not count. inside: the share of the track that is inside the mask, for
    masks of several objects; a frame in which the track is absent does not count.

    Args:
        tracks: rows of the video's track files, of any sources.
        source: whose prompt file is read; prompts that serve all expressions say nothing.

    Raises:
        CacheError: a file is missing or damaged, or was made for other expressions or other frames.
    """
    path = layout.file(GENERATE_PROMPTS, video.id, source)
    prompts = [prompt for prompt in read_prompts(path) if prompt.expression != SERVES_ALL]
    if any(prompt.expression >= len(video.expressions) for prompt in prompts):
        raise CacheError(f"{path}: holds prompts of other expressions than the index; {remedy(GENERATE_PROMPTS.name)}")
    shared_PM, counts_PM = _shared(layout, video, tracks, prompts, measure)
    expression_P = np.array([prompt.expression for prompt in prompts], int)
    shape = (len(video.expressions), len(tracks))
    sum_EM, frames_EM = np.zeros(shape), np.zeros(shape, np.int64)
    np.add.at(sum_EM, expression_P, np.where(counts_PM, shared_PM, 0.0))
    np.add.at(frames_EM, expression_P, counts_PM)
    return Agreement(np.divide(sum_EM, frames_EM, out=np.full(shape, np.nan), where=frames_EM > 0), frames_EM)


def _shared(
    layout: Layout, video: Video, tracks: Sequence[TrackId], prompts: Sequence[Prompt], measure: Measure
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(P, M): what each mask has in common with each track in its frame, and whether the frame counts for the two."""
    shared_PM = np.zeros((len(prompts), len(tracks)))
    seen_PM = np.zeros(shared_PM.shape, bool)
    for rows, columns, decoded, tracked in meetings(layout, video, tracks, prompts):
        place = np.ix_(rows, columns)
        both = masks.iou_matrix(decoded, tracked) if measure == "iou" else masks.containment_matrix(tracked, decoded).T
        shared_PM[place], seen_PM[place] = both, True
    if measure == "inside":
        return shared_PM, seen_PM
    decoded_P1 = (masks.area([prompt.mask for prompt in prompts]) > 0).reshape(-1, 1)
    return shared_PM, seen_PM | decoded_P1
