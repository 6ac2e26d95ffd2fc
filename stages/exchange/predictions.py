"""The answers in the cache, one expression at a time: masks and a score (decisions of rerank_tracks, or imported)."""

from collections.abc import Iterator
from dataclasses import dataclass

from stages.core.records import Rle, Video
from stages.core.state.choices import confidence, predicted_masks, read_answers
from stages.core.state.frames import FrameFolder
from stages.core.state.graph import RERANK_TRACKS, Layout


@dataclass(frozen=True)
class Prediction:
    """The answer to one expression.

    Attributes:
        expression: its id.
        score: sigmoid of the best final score of the chosen tracks, 0 … 1; 0 = none chosen.
        rles_T: one mask per frame, empty ones included.
    """

    expression: str
    score: float
    rles_T: list[Rle]


def read_predictions(layout: Layout, video: Video, frames: FrameFolder) -> Iterator[Prediction]:
    """The answers to all expressions of a video, in its order.

    Raises:
        CacheError: decisions or tracks are missing, damaged, or lack an expression.
    """
    for expression, candidates in read_answers(layout.file(RERANK_TRACKS, video.id), video).items():
        chosen = [candidate for candidate in candidates or () if candidate.chosen]
        rles_T = predicted_masks(layout, video.id, chosen, frames.size, len(frames))
        yield Prediction(expression, confidence(chosen), rles_T)
