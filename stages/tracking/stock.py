"""The reference engine: the sam2 package's own video predictor, used as its authors intend.

One prompt frame per state (with mixed prompt frames it would track an object before its prompt); the whole
forward sweep first, then the reverse sweep, which reads forward memories next to the prompt frame; never
non-overlap constraints. It is slow: it encodes every frame again for each batch of prompts. What differs
from a plain use changes no number: frames are decoded when needed, memories out of reach are dropped, and
predicted IoUs, which the package computes and throws away, are kept.

Legend: N objects, T frames, C = 256 token channels.
"""

import functools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sam2 import sam2_video_predictor
from sam2.sam2_video_predictor import SAM2VideoPredictor

from stages.core.config.section import Precision
from stages.core.media import masks as masks_of
from stages.core.records import Rle
from stages.core.run import progress
from stages.core.state.frames import FrameFolder
from stages.core.state.weights import Weights
from stages.tracking.model_frames import ModelFrames
from stages.tracking.sam2_model import autocast, load_sam2
from stages.tracking.tracker import Collected, Masklet, PromptBatch, Runtime

State = dict[str, Any]


class IouKeepingPredictor(SAM2VideoPredictor):
    """The stock predictor; a frame's output also holds `pred_iou` (N,), that of the chosen mask.

    `encodes` counts the frames that went through the image encoder.
    """

    encodes = 0

    def forward_image(self, img_batch: torch.Tensor) -> Any:
        self.encodes += len(img_batch)
        return super().forward_image(img_batch)

    def _track_step(self, *args: Any, **kwargs: Any) -> Any:
        step = super()._track_step(*args, **kwargs)
        ious_NM = step[1][2]
        self._pred_iou = ious_NM.max(-1).values  # the stock choice among M masks: the best predicted IoU
        return step

    def _run_single_frame_inference(self, *args: Any, **kwargs: Any) -> Any:
        out, pred_masks = super()._run_single_frame_inference(*args, **kwargs)
        return {**out, "pred_iou": self._pred_iou}, pred_masks


class StockTracker:
    """`Tracker` over the stock predictor. Keeps the state of the last video, to decode its frames once."""

    def __init__(self, predictor: IouKeepingPredictor, precision: Precision) -> None:
        self.predictor = predictor
        self.precision = precision
        self.runtime = Runtime()
        self._frames: FrameFolder | None = None
        self._state: State = {}

    @classmethod
    def load(cls, weights: Weights, device: str, precision: Precision) -> "StockTracker":
        return cls(load_sam2(weights, device, IouKeepingPredictor), precision)

    def track(self, frames: FrameFolder, batches: Sequence[PromptBatch]) -> list[list[Masklet]]:
        """Tracks one batch after the other; see `Tracker`."""
        if self._frames != frames:
            self.runtime, self.predictor.encodes = Runtime(), 0
        with self.runtime.phase("track"):
            masklets = [self.propagate(frames, batch.frame, batch.masks) for batch in progress.steps(batches)]
        self.runtime.counts["rounds"] += 1
        self.runtime.counts["object_frames"] += sum(map(len, masklets)) * len(frames)
        self.runtime.counts["encodes"] = self.predictor.encodes
        return masklets

    def propagate(self, frames: FrameFolder, frame_index: int, masks: Sequence[Rle]) -> list[Masklet]:
        """Tracks masks of one frame, given at video size, forward and back."""
        if not masks:
            return []
        with without_progress_bars(), autocast(self.predictor.device.type, self.precision):
            state = self._open(frames)
            for index, rle in enumerate(masks):
                self.predictor.add_new_mask(state, frame_index, index, masks_of.decode(rle))
            collected = Collected(len(masks), len(frames))
            for frame, masks_NHW in progress.steps(self._sweeps(state, frame_index), len(frames)):
                record(collected, state, frame, masks_NHW)
        self.predictor.reset_state(state)
        return collected.masklets()

    def _open(self, frames: FrameFolder) -> State:
        if self._frames != frames:
            self._state = {}  # free the last video first
            self._state, self._frames = open_state(self.predictor, frames), frames
        return self._state

    def _sweeps(self, state: State, start: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Every frame once, with its masks (N, H, W): from `start` to the end, then back to frame 0."""
        reach = memory_reach(self.predictor)
        for reverse in (False, True):
            for frame, _, logits_N1HW in self.predictor.propagate_in_video(state, start, reverse=reverse):
                if not (reverse and frame == start):
                    yield frame, (logits_N1HW[:, 0] > 0).cpu().numpy()
                forgotten = frame + reach if reverse else frame - reach
                if reverse or forgotten > start + reach:  # the reverse sweep reads the first forward memories
                    for outputs in state["output_dict_per_obj"].values():
                        outputs["non_cond_frame_outputs"].pop(forgotten, None)


def record(collected: Collected, state: State, frame: int, masks_NHW: NDArray[np.bool_]) -> None:
    """Takes what a sweep yields; masks become RLE at once, so memory does not grow with H and W."""
    outputs_N = [_output(state, index, frame) for index in range(len(masks_NHW))]
    collected.tokens_NTC[:, frame] = _gather(outputs_N, "obj_ptr")
    collected.score_NT[:, frame] = _gather(outputs_N, "object_score_logits")[:, 0]
    collected.iou_NT[:, frame] = _gather(outputs_N, "pred_iou")
    for row, rle in zip(collected.rles_NT, masks_of.encode_all(masks_NHW)):
        row[frame] = rle


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """While it is open the package draws none; otherwise there would be two per batch of prompts."""
    drawn = sam2_video_predictor.tqdm
    sam2_video_predictor.tqdm = functools.partial(drawn, disable=True)
    try:
        yield
    finally:
        sam2_video_predictor.tqdm = drawn


def open_state(predictor: SAM2VideoPredictor, frames: FrameFolder) -> State:
    """The stock `init_state` for any frame folder: it only takes JPEGs whose names are numbers."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "0.jpg").symlink_to(frames.path(0).resolve())  # told from its bytes if it is a PNG
        state: State = predictor.init_state(folder)
    state["images"] = ModelFrames(frames, predictor.image_size, predictor.device)
    state["num_frames"] = len(frames)
    return state


def memory_reach(predictor: SAM2VideoPredictor) -> int:
    """No frame reads memories or pointers of frames that are further away than this."""
    memories = predictor.num_maskmem * predictor.memory_temporal_stride_for_eval + 2
    return max(memories, predictor.max_obj_ptrs_in_encoder)


def _output(state: State, index: int, frame: int) -> dict[str, Any]:
    outputs = state["output_dict_per_obj"][index]
    kind = "cond_frame_outputs" if frame in outputs["cond_frame_outputs"] else "non_cond_frame_outputs"
    return outputs[kind][frame]


def _gather(outputs_N: Sequence[dict[str, Any]], name: str) -> NDArray[np.float32]:
    return torch.cat([output[name] for output in outputs_N]).float().cpu().numpy()
