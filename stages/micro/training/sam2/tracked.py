"""Held-out clips tracked by the pipeline's reference engine, from mask prompts in their first frame.

Legend: N objects, T frames, H height, W width, C = 256 channels of a pointer.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from stages.core.media import masks as masks_of
from stages.core.state.frames import FrameFolder
from stages.micro.training.sam2.batches import VISIBLE
from stages.micro.training.sam2.clips import COLOUR_NAMES, SHAPE_NAMES
from stages.tracking.stock import StockTracker
from stages.worlds.shapes import Clip, sample_clip

HELD_OUT = 20_000_003  # the first number of held-out seeds; training seeds are smaller
FRAMES = 16
JPEG_QUALITY = 95  # as in the embedded data set
LOGITS = 32  # side of the mask decoder's answer at 128 px
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tracked:
    """One object over a clip; frame 0 held its prompt.

    Attributes:
        clip: index of the held-out clip.
        masks_THW, tracked_THW: bool, true and tracked.
        pointer_TC, score_T: SAM2's object pointers and object scores (> 0 = present).
        colour, shape: class indices.
    """

    clip: int
    masks_THW: NDArray[np.bool_]
    tracked_THW: NDArray[np.bool_]
    pointer_TC: NDArray[np.float32]
    score_T: NDArray[np.float32]
    colour: int
    shape: int

    @property
    def area_T(self) -> NDArray[np.int64]:
        return np.count_nonzero(self.masks_THW, axis=(1, 2))

    @property
    def centre_T2(self) -> Array:
        """x, y in pixels; nan where nothing is visible."""
        height, width = self.masks_THW.shape[1:]
        area_T = np.where(self.area_T > 0, self.area_T, np.nan)
        x_T = (self.masks_THW.sum(1) @ (np.arange(width) + 0.5)) / area_T
        y_T = (self.masks_THW.sum(2) @ (np.arange(height) + 0.5)) / area_T
        return np.stack([x_T, y_T], 1)


def held_out_clip(index: int) -> Clip:
    if index < 0:
        raise ValueError(f"held-out clips are numbered from 0, got {index}")
    return sample_clip(np.random.default_rng([HELD_OUT, index]), FRAMES)


def track_clips(tracker: StockTracker, n_clips: int) -> list[Tracked]:
    """All objects with VISIBLE pixels or more in frame 0 of the first `n_clips` held-out clips."""
    return [track for index in range(n_clips) for track in _track(tracker, index, held_out_clip(index))]


def _track(tracker: StockTracker, index: int, clip: Clip) -> list[Tracked]:
    chosen = np.flatnonzero(np.count_nonzero(clip.masks_NTHW[:, 0], axis=(1, 2)) >= VISIBLE)
    prompts = masks_of.encode_all(clip.masks_NTHW[chosen, 0])
    with tempfile.TemporaryDirectory() as folder:
        masklets = tracker.propagate(_written(clip, Path(folder), index), 0, prompts)
    return [
        Tracked(
            index,
            clip.masks_NTHW[i],
            np.stack([masks_of.decode(rle) for rle in masklet.rles_T]).astype(bool),
            masklet.tokens_TC,
            masklet.score_T,
            COLOUR_NAMES.index(clip.scene.things[i].colour),
            SHAPE_NAMES.index(clip.scene.things[i].shape),
        )
        for i, masklet in zip(chosen, masklets)
    ]


def _written(clip: Clip, folder: Path, index: int) -> FrameFolder:
    names = tuple(f"{t:05d}" for t in range(len(clip.frames_THW3)))
    for name, frame_HW3 in zip(names, clip.frames_THW3):
        Image.fromarray(frame_HW3).save(folder / f"{name}.jpg", quality=JPEG_QUALITY, subsampling=0)
    height, width = clip.frames_THW3.shape[1:3]
    return FrameFolder(folder, names, ".jpg", (height, width), None, f"held-out-{index}")


def tracking_figures(tracks: Sequence[Tracked]) -> dict[str, float]:
    """Over the frames after the prompt.

    `tracking_iou`: where VISIBLE pixels or more are visible. `tracking_j`: all frames; empty on empty is 1.
    `absent_told`, `present_told`: share of frames without (with) the object that the score gets right.
    `logit_grid_iou`: IoU of true masks, in tracking_iou's frames, after a passage through the decoder's coarse grid:
    about the most that any weights can reach at this size.
    """
    ious, js, absent, present, coarse = [], [], [], [], []
    for track in tracks:
        iou_T = np.array([mask_iou(a, b) for a, b in zip(track.masks_THW, track.tracked_THW)])[1:]
        area_T, score_T = track.area_T[1:], track.score_T[1:]
        js.append(iou_T)
        ious.append(iou_T[area_T >= VISIBLE])
        seen_THW = track.masks_THW[1:][area_T >= VISIBLE]
        coarse.append(np.array([mask_iou(a, b) for a, b in zip(seen_THW, through_logits(seen_THW))]))
        absent.append(score_T[area_T == 0] <= 0)
        present.append(score_T[area_T >= VISIBLE] > 0)
    return {
        "objects": len(tracks),
        "absent_frames": int(sum(map(len, absent))),
        "tracking_iou": mean(ious),
        "tracking_j": mean(js),
        "absent_told": mean(absent),
        "present_told": mean(present),
        "logit_grid_iou": mean(coarse),
    }


def through_logits(masks_THW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Masks averaged to LOGITS × LOGITS values, then enlarged bilinearly and cut at one half, as SAM2 enlarges logits."""
    share_T1HW = torch.from_numpy(masks_THW).float()[:, None]
    coarse_T1GG = F.adaptive_avg_pool2d(share_T1HW, LOGITS)
    fine_T1HW = F.interpolate(coarse_T1GG, share_T1HW.shape[2:], mode="bilinear", align_corners=False)
    kept_THW: NDArray[np.bool_] = (fine_T1HW[:, 0] > 0.5).numpy()
    return kept_THW


def mask_iou(a_HW: NDArray[np.bool_], b_HW: NDArray[np.bool_]) -> float:
    """1 for two empty masks."""
    either = np.count_nonzero(a_HW | b_HW)
    return np.count_nonzero(a_HW & b_HW) / either if either else 1.0


def mean(parts: Sequence[NDArray[np.generic]]) -> float:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return round(float(values.mean()), 4) if len(values) else float("nan")
