"""The engine: all tracks of a video advance together, frame by frame, on features encoded once.

The tracks are those of the stock predictor with one state per prompt frame (`stages.tracking.stock`): each has
its own memories, prompt frame and direction; the whole forward sweep runs before the backward sweep, which
reads forward memories next to a prompt. What sets it apart from the stock predictor changes no number beyond
the rounding of sums: docs/tracking.md has the design and the faults that its tests put in on purpose.
"""

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch.nn.attention import SDPBackend, sdpa_kernel

from stages.core.config.section import Precision
from stages.core.config.sections import Run, Tracks
from stages.core.records import Rle
from stages.core.run.batches import Batches
from stages.core.state.frames import FrameFolder
from stages.core.state.weights import Weights
from stages.tracking.compiler import Compiler
from stages.tracking.encoder import Encoder
from stages.tracking.features import GB, VideoFeatures
from stages.tracking.heads import Heads
from stages.tracking.recorder import Recorder
from stages.tracking.sam2_model import autocast, cast_weights, load_sam2
from stages.tracking.sweeps import Round
from stages.tracking.tracker import Masklet, PromptBatch, Runtime

log = logging.getLogger(__name__)

# Attention kernels in the order in which they are tried; each takes what the ones before it refuse (older devices,
# float32). At the 256 channels of SAM2's memory attention cuDNN's is the fastest on Hopper; but it plans for every shape,
# 0.1 s for each of some hundred in a first round, so that where it gains little FlashAttention comes first.
KERNELS: dict[str, list[SDPBackend]] = {
    "cudnn": [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "flash": [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
}
HOPPER = (9, 0)


class LockstepTracker:
    """`Tracker` in lock step. Keeps the features of the last video.

    Args:
        batch: at most this many tracks computed together; halves when the device runs out of memory.
        budget: bytes of features kept on the device, on the host.
        compiler: a backend of torch.compile; None = nothing is compiled.
        kernels: of `KERNELS`; None = what suits the device.
        graph: whether a GPU replays the image encoder, and steps of a few tracks, as CUDA graphs.
        fused: whether a GPU computes the rotary encoding in one kernel; see `Rotary`.
    """

    def __init__(
        self,
        model: SAM2VideoPredictor,
        precision: Precision,
        batch: int,
        budget: tuple[int, int],
        compiler: str | None = None,
        kernels: str | None = None,
        graph: bool = True,
        fused: bool = False,
    ) -> None:
        cast_weights(model, precision)
        with torch.no_grad(), autocast(model.device.type, precision):  # tables in the precision that they are used in
            self.heads, self.encoder = Heads(model, Compiler(compiler, fused), graph), Encoder(model, graph)
        self.precision, self.budget, self.kernels = precision, budget, kernels
        self.batches = Batches(batch, "tracks")
        self.rounds = Batches(
            sys.maxsize, "tracks in one round"
        )  # all, as long as the device has memory for their banks
        self.runtime = Runtime()
        self._frames: FrameFolder | None = None
        self._video: VideoFeatures | None = None

    @classmethod
    def load(cls, weights: Weights, device: str, settings: Tracks, run: Run) -> "LockstepTracker":
        """The engine of a config's `tracks` and `run`; raises ValueError as `load_sam2` does."""
        model = load_sam2(weights, device, SAM2VideoPredictor)
        budget = (int(run.feature_cache_gb.device * GB), int(run.feature_cache_gb.host * GB))
        compiler = "inductor" if settings.compile else None
        return cls(model, settings.precision, run.batches.tracks, budget, compiler)

    def track(self, frames: FrameFolder, batches: Sequence[PromptBatch]) -> list[list[Masklet]]:
        """Tracks all prompts of all batches together; see `Tracker`."""
        prompts = [(batch.frame, rle) for batch in batches for rle in batch.masks]
        kernels = attention_kernels(self._device, self.kernels)
        with torch.inference_mode(), autocast(self._device.type, self.precision), kernels:
            masklets = iter(self._tracked(self._open(frames), frames, prompts) if prompts else [])
        return [[next(masklets) for _ in batch.masks] for batch in batches]

    def _tracked(self, video: VideoFeatures, frames: FrameFolder, prompts: Sequence[tuple[int, Rle]]) -> list[Masklet]:
        return [m for _, part in self.rounds.run(prompts, partial(self._round, video, frames)) for m in part]

    def _round(self, video: VideoFeatures, frames: FrameFolder, prompts: Sequence[tuple[int, Rle]]) -> list[Masklet]:
        start = time.perf_counter()
        with Recorder(len(prompts), len(frames), frames.size, self._device) as recorder:
            Round(self.heads, video, prompts, len(frames), self.batches, recorder, self.runtime).run()
            with self.runtime.phase("masks"):
                masklets = recorder.masklets()
        counts, work = self.runtime.counts, len(prompts) * len(frames)
        counts["rounds"] += 1
        counts["object_frames"] += work
        counts["encodes"] = video.encodes
        counts["batch"] = self.batches.limit
        rate = work / (time.perf_counter() - start)
        log.info(
            "round %d: %d tracks, %d frames, %.1f object-frames/s", counts["rounds"], len(prompts), len(frames), rate
        )
        return masklets

    def _open(self, frames: FrameFolder) -> VideoFeatures:
        if self._video is None or self._frames != frames:
            self.close()
            self.runtime = Runtime()
            self._video, self._frames = VideoFeatures(self.encoder, frames, self.budget), frames
        return self._video

    def close(self) -> None:
        """Frees the features of the last video."""
        if self._video is not None:
            self._video.close()
        self._video = None

    @property
    def _device(self) -> torch.device:
        return self.heads.model.device


def attention_kernels(device: torch.device, kernels: str | None = None) -> AbstractContextManager[Any]:
    """Lets attention take the first of some `KERNELS` that fits; the CPU has its own."""
    if device.type != "cuda":
        return nullcontext()
    kernels = kernels or ("cudnn" if torch.cuda.get_device_capability(device) >= HOPPER else "flash")
    return sdpa_kernel(KERNELS[kernels], set_priority=True)
