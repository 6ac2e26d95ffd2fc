"""Models and input of the parts: of the published sizes with random weights, or micro ones."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.clips import draw_clip
from benchmarks.gpu.ledger import ROOT
from benchmarks.tracking import make_model
from stages.core.config.loading import load_config, settings_of
from stages.core.state.frames import FrameFolder
from stages.tracking.stock import IouKeepingPredictor

HIERA_L = "configs/sam2/sam2_hiera_l.yaml", None, 1024
HIERA_T = "configs/sam2.1/sam2.1_hiera_t.yaml", None, 256
MICRO = "stages/micro/sam2_micro.yaml", ROOT / "stages/micro/weights/sam2/model.safetensors", 128
SIZE, TINY_SIZE = (540, 960), (96, 128)


def settings(dataset: str = "mevis") -> Any:
    """The settings of a data set; mevis has those of the published sizes, shapes the micro ones."""
    return settings_of(load_config(ROOT / "config.yaml"), dataset)


@cache
def predictor(which: tuple[str, Path | None, int], device: str) -> IouKeepingPredictor:
    """The stock predictor of a config, a checkpoint (None = random weights) and a side; made once."""
    with tempfile.TemporaryDirectory() as folder:
        return make_model(*which, Path(folder)).to(device)


@contextmanager
def clip(n_frames: int, tiny: bool) -> Iterator[FrameFolder]:
    """A drawn clip, while it is open."""
    with tempfile.TemporaryDirectory() as folder:
        yield draw_clip(Path(folder) / "frames", n_frames, TINY_SIZE if tiny else SIZE)
