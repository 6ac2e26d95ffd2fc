"""What every tracking engine does: follow mask prompts of one frame through the whole video.

Legend: N tracks, T frames, C = 256 channels of an object token.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stages.core.records import Rle
from stages.core.state.frames import FrameFolder

TOKEN_CHANNELS = 256


@dataclass(frozen=True)
class Masklet:
    """One object through a video.

    Attributes:
        rles_T: one mask per frame at video size; empty where the object is absent.
        tokens_TC: float32, SAM2's object pointers.
        score_T: float32 object-score logits, ≤ 0 = absent. On the prompt frame a dummy: ±10 says whether
            the prompt has a pixel at the model's size.
        iou_T: float32 predicted IoU; on the prompt frame a dummy 1.
    """

    rles_T: list[Rle]
    tokens_TC: NDArray[np.float32]
    score_T: NDArray[np.float32]
    iou_T: NDArray[np.float32]


class Collected:
    """The outputs of N tracks in T frames, frame by frame as an engine gives them."""

    def __init__(self, n: int, n_frames: int) -> None:
        self.rles_NT: list[list[Rle | None]] = [[None] * n_frames for _ in range(n)]
        self.tokens_NTC = np.zeros((n, n_frames, TOKEN_CHANNELS), np.float32)
        self.score_NT = np.zeros((n, n_frames), np.float32)
        self.iou_NT = np.zeros((n, n_frames), np.float32)

    def masklets(self) -> list[Masklet]:
        """One per track; every track must have a mask in every frame."""
        masklets: list[Masklet] = []
        for n, row in enumerate(self.rles_NT):
            rles_T = [rle for rle in row if rle is not None]
            assert len(rles_T) == len(row), "a frame was never tracked"
            masklets.append(Masklet(rles_T, self.tokens_NTC[n], self.score_NT[n], self.iou_NT[n]))
        return masklets


@dataclass(frozen=True)
class PromptBatch:
    """Masks of one frame, at video size, each to become a track."""

    frame: int
    masks: Sequence[Rle]


@dataclass
class Runtime:
    """What tracking a video has taken so far.

    Attributes:
        counts: rounds (calls of `track`), encodes (frames through the image encoder), object_frames (tracks
            times frames).
        seconds: wall time by phase, as the CPU sees it: a GPU's work counts where it is waited for.
    """

    counts: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start


class Tracker(Protocol):
    """A tracking engine (`tracks.engine`). Keeps its state of a video until the next."""

    @property
    def runtime(self) -> Runtime:
        """Of the last video."""
        ...

    def track(self, frames: FrameFolder, batches: Sequence[PromptBatch]) -> list[list[Masklet]]:
        """Tracks every mask forward and back; batches do not see each other, and may be tracked together."""
        ...
