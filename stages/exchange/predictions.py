"""The answers of the cache, an expression at a time: masks and a score (decisions of rerank_tracks, or imported)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from stages.core.records import Rle, Video
from stages.core.state.choices import predicted_masks, read_answers
from stages.core.state.frames import FrameFolder
from stages.core.state.graph import RERANK_TRACKS, Layout


@dataclass(frozen=True)
class Prediction:
    """The answer to one expression.

    Attributes:
        expression: its id.
        score: the best of the chosen tracks' final scores, through the sigmoid: 0 … 1; 0 = none chosen.
        rles_T: one mask a frame, empty ones included.
    """

    expression: str
    score: float
    rles_T: list[Rle]


def read_predictions(layout: Layout, video: Video, frames: FrameFolder) -> Iterator[Prediction]:
    """The answers to all expressions of a video, in its order.

    Raises:
        CacheError: decisions or tracks are missing, damaged, or know nothing of an expression.
    """
    for expression, candidates in read_answers(layout.file(RERANK_TRACKS, video.id), video).items():
        finals = [c.score if c.final is None else c.final for c in candidates if c.chosen]
        rles_T = predicted_masks(layout, video.id, candidates, frames.size, len(frames))
        yield Prediction(expression, _sigmoid(max(finals)) if finals else 0.0, rles_T)


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
