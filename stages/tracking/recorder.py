"""Collects what a sweep gives: masks become run lengths in a worker thread while the next frame is tracked.

The worker falls behind by a few frames at most, then the sweep waits: memory does not grow with what is
pending, nor with H and W.

Legend: N tracks, B tracks of a part, T frames, C = 256 channels, h × w = logits at stride 4, H × W = the video.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.core.media import masks as masks_of
from stages.core.records import Rle
from stages.tracking.heads import Prediction
from stages.tracking.tracker import Collected, Masklet

PENDING = 8  # parts that wait for the worker
ENLARGED = 8  # masks at the video's size at a time: 17 MB of float32 at 540 × 960


class Recorder:
    """The outputs of N tracks. A context: leaving it waits for the worker or, after an error, drops what is pending."""

    def __init__(self, n: int, n_frames: int, size: tuple[int, int]) -> None:
        self._size = size
        self._collected = Collected(n, n_frames)
        self._worker = ThreadPoolExecutor(1, "masks")
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.shutdown(cancel_futures=error is not None)

    def record(self, tracks: Sequence[int], frame: int, prediction: Prediction) -> None:
        """Takes what `frame` gave some tracks; raises what the worker raised before."""
        outputs = (prediction.logits_B1hw, prediction.pointer_BC, prediction.score_B1, prediction.iou_B)
        self._pending.append(self._worker.submit(self._keep, list(tracks), frame, *outputs))
        while len(self._pending) > PENDING:
            self._pending.popleft().result()

    def masklets(self) -> list[Masklet]:
        """One per track; every track must have been recorded in every frame."""
        while self._pending:
            self._pending.popleft().result()
        return self._collected.masklets()

    @torch.inference_mode()
    def _keep(
        self, tracks: list[int], frame: int, logits_B1hw: Tensor, pointer_BC: Tensor, score_B1: Tensor, iou_B: Tensor
    ) -> None:
        self._collected.tokens_NTC[tracks, frame] = pointer_BC.float().cpu().numpy()
        self._collected.score_NT[tracks, frame] = score_B1[:, 0].float().cpu().numpy()
        self._collected.iou_NT[tracks, frame] = iou_B.float().cpu().numpy()
        for start in range(0, len(tracks), ENLARGED):
            part = slice(start, start + ENLARGED)
            for n, rle in zip(tracks[part], run_lengths(logits_B1hw[part], self._size)):
                self._collected.rles_NT[n][frame] = rle


def run_lengths(logits_B1hw: Tensor, size: tuple[int, int]) -> list[Rle]:
    """Masks of logits at the video's size, as the stock predictor enlarges them."""
    if logits_B1hw.shape[-2:] != size:
        logits_B1hw = F.interpolate(logits_B1hw, size=size, mode="bilinear", align_corners=False)
    return masks_of.encode_all((logits_B1hw[:, 0] > 0).cpu().numpy())
