"""Frames as SAM2's video predictor sees them.

Legend: S = side of the model's square input.
"""

import numpy as np
import torch
from PIL import Image

from stages.core.state.frames import FrameFolder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of sam2.utils.misc.load_video_frames
CACHED_FRAMES = 512  # 3 MiB each at 1024 px


class Normaliser:
    """Pixels → images as SAM2's loader makes them, equal to the last bit."""

    def __init__(self, device: torch.device) -> None:
        # On a GPU torch multiplies by the reciprocal of a plain number, which rounds differently.
        self._white = torch.tensor(255.0, dtype=torch.float64, device=device)
        self._mean_311 = torch.tensor(MEAN, device=device)[:, None, None]
        self._std_311 = torch.tensor(STD, device=device)[:, None, None]

    def __call__(self, pixels_SS3: torch.Tensor) -> torch.Tensor:
        """(3, S, S) float32 of uint8 on the same device."""
        # The loader divides in float64 and rounds once; memory order decides which convolution runs.
        image_3SS = (pixels_SS3.double() / self._white).permute(2, 0, 1).float().contiguous()
        return (image_3SS - self._mean_311) / self._std_311


class ModelFrames:
    """What `init_state` keeps as `images`, equal to the last bit, but decoded when first needed.

    `self[i]` is a float32 (3, S, S) tensor on the model's device. The first `keep` frames are kept as uint8.
    PIL resizes them, as the package's loader does; its image predictor resizes with torchvision, so that features
    of prompts and of tracks are not the same.
    """

    def __init__(self, frames: FrameFolder, side: int, device: torch.device, keep: int = CACHED_FRAMES) -> None:
        self.frames, self.side, self.device, self.keep = frames, side, device, keep
        self._resized: dict[int, torch.Tensor] = {}
        self._normalise = Normaliser(device)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._normalise(self.pixels(index).to(self.device))

    def pixels(self, index: int) -> torch.Tensor:
        """(S, S, 3) uint8 on the CPU."""
        if index in self._resized:
            return self._resized[index]
        image = Image.fromarray(self.frames.load(index)).resize((self.side, self.side))
        resized = torch.from_numpy(np.array(image))
        if len(self._resized) < self.keep:
            self._resized[index] = resized
        return resized
