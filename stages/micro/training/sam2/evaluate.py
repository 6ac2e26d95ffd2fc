"""Held-out figures of a weights file, through the loaders and engines that the pipeline uses."""

from pathlib import Path

import torch
from sam2.modeling.sam2_base import SAM2Base

from stages.core.config.file import Sam2Model
from stages.core.state.weights import Weights
from stages.micro.training.sam2.checkpoint import CONFIG
from stages.micro.training.sam2.probes import probe_figures
from stages.micro.training.sam2.prompted import prompted_figures
from stages.micro.training.sam2.tracked import track_clips, tracking_figures
from stages.tracking.sam2_model import load_sam2
from stages.tracking.stock import StockTracker


def evaluate(file: Path, n_clips: int) -> dict[str, float]:
    """Tracking, prompts and pointer probes on the first `n_clips` held-out clips.

    Raises:
        ValueError: `file` holds no weights of the micro SAM2.
    """
    model = Sam2Model(hub=None, revision=None, files=[], seed=0, path=None, license=None, config=CONFIG)
    weights = Weights(file, "evaluated", model)
    with torch.inference_mode():
        tracks = track_clips(StockTracker.load(weights, "cpu", "float32"), n_clips)
        figures = tracking_figures(tracks) | probe_figures(tracks)
        return figures | prompted_figures(load_sam2(weights, "cpu", SAM2Base), n_clips, max(1, n_clips // 4))
