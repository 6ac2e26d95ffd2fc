"""What the SAM2 tests share: micro weights, drawn frames."""

from pathlib import Path

import numpy as np
from PIL import Image

from stages.core.config.file import Sam2Model
from stages.core.state.frames import FrameFolder
from stages.core.state.weights import Weights
from stages.micro.sam2 import build_random_sam2

MICRO_CONFIG = "stages/micro/sam2_micro.yaml"


def sam2_model(config=MICRO_CONFIG):
    return Sam2Model(hub=None, revision=None, files=[], seed=0, path=None, license=None, config=config)


def micro_weights(folder: Path, seed: int = 0) -> Weights:
    return Weights(build_random_sam2(folder, MICRO_CONFIG, seed), "micro", sam2_model())


def draw_frames(folder: Path, n: int, *, size=(48, 64), suffix=".png", name="f{:03}-x") -> FrameFolder:
    """Two moving squares on noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(n)
    names = tuple(name.format(t) for t in range(n))
    for t, frame in enumerate(names):
        image = rng.integers(0, 90, (*size, 3), dtype=np.uint8)
        image[5:25, 5 + t % 30 : 25 + t % 30] = (220, 40, 40)
        image[28:44, 40 - t % 30 : 56 - t % 30] = (40, 40, 220)
        Image.fromarray(image).save(folder / f"{frame}{suffix}")
    return FrameFolder(folder, names, suffix, size, None, f"drawn-{n}")


def box_mask(size, x0, y0, x1, y1):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask
