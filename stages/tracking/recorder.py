"""Collects what a sweep gives: masks become run lengths in a worker thread while the next frame is tracked.

The worker falls behind by a few frames at most, then the sweep waits: memory does not grow with what is
pending, nor with H and W. A GPU enlarges and cuts the masks, and turns them into COCO's order, column by column; while
some are encoded, the next are on their way.

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
from stages.core.run.batches import Batches
from stages.tracking.heads import Prediction
from stages.tracking.tracker import Collected, Masklet
from stages.tracking.transfers import Arriving, Readback

PENDING = 8  # parts that wait for the worker
ENLARGED = 8  # masks at the video's size at a time: 17 MB of float32 at 540 × 960


class Recorder:
    """The outputs of N tracks. A context: leaving it waits for the worker or, after an error, drops what is pending."""

    def __init__(self, n: int, n_frames: int, size: tuple[int, int], device: torch.device) -> None:
        self._run_lengths = RunLengths(size, device)
        self._readback = self._run_lengths.readback
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
        mark = self._readback.mark()
        self._pending.append(self._worker.submit(self._keep, list(tracks), frame, mark, *outputs))
        while len(self._pending) > PENDING:
            self._pending.popleft().result()

    def masklets(self) -> list[Masklet]:
        """One per track; every track must have been recorded in every frame."""
        while self._pending:
            self._pending.popleft().result()
        return self._collected.masklets()

    @torch.inference_mode()
    def _keep(
        self,
        tracks: list[int],
        frame: int,
        mark: torch.cuda.Event | None,
        logits_B1hw: Tensor,
        pointer_BC: Tensor,
        score_B1: Tensor,
        iou_B: Tensor,
    ) -> None:
        with self._readback.after(mark):
            numbers = [part.float() for part in (pointer_BC, score_B1, iou_B[:, None])]
            arriving = self._readback.start(torch.cat(numbers, 1))
            for track, rle in zip(tracks, self._run_lengths(logits_B1hw)):
                self._collected.rles_NT[track][frame] = rle
        numbers_BX = arriving.wait().numpy()
        self._collected.tokens_NTC[tracks, frame] = numbers_BX[:, :-2]
        self._collected.score_NT[tracks, frame] = numbers_BX[:, -2]
        self._collected.iou_NT[tracks, frame] = numbers_BX[:, -1]


class RunLengths:
    """From mask logits to run lengths at the video's size, as the stock predictor enlarges them.

    Attributes:
        readback: on whose stream a GPU enlarges the masks, where it is called inside `after`.
    """

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        self.size, self.readback = size, Readback(device)
        self._batches = Batches(ENLARGED, "enlarged masks")

    def __call__(self, logits_B1hw: Tensor) -> list[Rle]:
        """Some masks at a time; while they are encoded, the next are on their way."""

        def start(part: Sequence[int]) -> Arriving:
            return self.readback.start(columns(logits_B1hw[part[0] : part[-1] + 1], self.size))

        rles: list[Rle] = []
        before: Arriving | None = None
        for _, arriving in self._batches.run(range(len(logits_B1hw)), start):
            rles += encoded(before.wait()) if before is not None else []
            before = arriving
        return rles + encoded(before.wait()) if before is not None else rles


def run_lengths(logits_B1hw: Tensor, size: tuple[int, int]) -> list[Rle]:
    """Those of a batch, at once."""
    return RunLengths(size, logits_B1hw.device)(logits_B1hw)


def columns(logits_B1hw: Tensor, size: tuple[int, int]) -> Tensor:
    """The masks at the video's size as (B, W, H) bool, on a GPU in the order of memory too."""
    if logits_B1hw.shape[-2:] != size:
        logits_B1hw = F.interpolate(logits_B1hw, size=size, mode="bilinear", align_corners=False)
    columns_BWH = (logits_B1hw[:, 0] > 0).transpose(1, 2)
    return columns_BWH if columns_BWH.device.type == "cpu" else columns_BWH.contiguous()


def encoded(columns_BWH: Tensor) -> list[Rle]:
    """Run lengths of masks on the host; a mask that is stored by columns is read as it is stored."""
    return masks_of.encode_all(columns_BWH.numpy().transpose(0, 2, 1))
