"""What every tracking engine does: follow mask prompts of one frame through the whole video.

Legend: T frames, C = 256 channels of an object token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stages.core.frames import FrameFolder
from stages.core.records import Rle

TOKEN_CHANNELS = 256


@dataclass(frozen=True)
class Masklet:
    """One object through a video.

    Attributes:
        rles_T: a mask a frame at video size; empty where the object is absent.
        tokens_TC: float32, SAM2's object pointers.
        score_T: float32 object-score logits, ≤ 0 = absent. On the prompt frame a dummy: ±10 says whether
            the prompt has a pixel at the model's size.
        iou_T: float32 predicted IoU; on the prompt frame a dummy 1.
    """

    rles_T: list[Rle]
    tokens_TC: NDArray[np.float32]
    score_T: NDArray[np.float32]
    iou_T: NDArray[np.float32]


class Tracker(Protocol):
    """A tracking engine (`tracks.engine`)."""

    def propagate(self, frames: FrameFolder, frame_index: int, masks: Sequence[Rle]) -> list[Masklet]:
        """Tracks each of `masks`, given at video size in frame `frame_index`, forward and back."""
        ...
