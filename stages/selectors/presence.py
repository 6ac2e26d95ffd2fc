"""From a track file to what a selector sees: whether a track is there, where and how large, and where it was prompted.

Legend: N tracks of a source, M tracks of a video, T frames.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.state.track_file import Column
from stages.selectors.batch import TrackFeatures

Columns = Mapping[Column, NDArray[Any]]
COLUMNS: tuple[Column, ...] = ("obj_ptr", "score", "area", "bbox", "prompt_frame")


def track_features(sources: Sequence[Columns], size: tuple[int, int]) -> TrackFeatures:
    """The tracks of all sources of a video, end to end; each gives the COLUMNS of its track file.

    Args:
        size: (height, width) of the masks.
    """
    height, width = size
    boxes_MT4 = np.concatenate([columns["bbox"] for columns in sources]).astype(np.float32)
    prompted = [_prompted(columns) for columns in sources]
    presence = [
        measured_presence(columns["score"].astype(np.float32), prompted_NT)
        for columns, prompted_NT in zip(sources, prompted, strict=True)
    ]
    return TrackFeatures(
        tokens_MTC=np.concatenate([columns["obj_ptr"] for columns in sources]),
        presence_MT=np.concatenate(presence),
        area_MT=np.concatenate([columns["area"] for columns in sources]).astype(np.float32)
        / np.float32(height * width),
        prompted_MT=np.concatenate(prompted),
        boxes_MT4=(boxes_MT4 / np.array([width, height, width, height], np.float32)).astype(np.float32),
    )


def measured_presence(score_NT: NDArray[np.float32], prompted_NT: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Object-score logits, but on a mask prompt's frame the median of the track's other visible frames.

    SAM2 does not score such a frame: it writes ±10. A track that is visible in no other frame keeps it.
    """
    presence_NT = score_NT.copy()
    for row_T, prompted_T in zip(presence_NT, prompted_NT, strict=True):
        others = row_T[~prompted_T & (row_T > 0)]
        if len(others):
            row_T[prompted_T & (row_T > 0)] = np.median(others)
    return presence_NT


def _prompted(columns: Columns) -> NDArray[np.bool_]:
    return np.arange(columns["score"].shape[1])[None] == columns["prompt_frame"][:, None]
