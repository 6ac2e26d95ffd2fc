"""Tracks of masks that a test has drawn."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stages.core.media import masks
from stages.core.state.track_file import Tracks


def tracks_of(
    size: tuple[int, int], rles_NT: Sequence[Sequence[Any]], n_expressions: int, n_frames: int, **change: Any
) -> Tracks:
    """Tracks of these masks, visible wherever SAM2 says, that belong to all expressions; `change` says what else.

    Tokens are zeros, object scores and predicted IoUs ones; there are no labels.
    """
    n, t = len(rles_NT), n_frames
    tracks = Tracks(
        size=size,
        tokens_NTC=np.zeros((n, t, 256), np.float32),
        score_NT=np.ones((n, t), np.float16),
        iou_NT=np.ones((n, t), np.float16),
        area_NT=np.array([masks.area(rles_T) for rles_T in rles_NT], np.uint32).reshape(n, t),
        bbox_NT4=np.array([masks.boxes(rles_T) for rles_T in rles_NT], np.uint16).reshape(n, t, 4),
        prompt_frame_N=np.zeros(n, np.int16),
        prompt_id_N=np.arange(n, dtype=np.int32),
        expression_tracks=tuple(np.arange(n, dtype=np.int32) for _ in range(n_expressions)),
        labels=None,
    )
    return replace(tracks, **change)
