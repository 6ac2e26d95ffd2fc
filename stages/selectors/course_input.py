"""Input "course": where a track is and how it moves, frame by frame, added to what a network makes of its tokens.

An object token says who an object is, and hardly where it goes; boxes say that. A camera that moves carries all tracks
with it, so places and speeds are also given relative to the median motion of the scene's tracks.

Legend: V scenes, N tracks of a scene, T frames, F = 11 features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.selectors.batch import Batch, within

COURSE = "course"  # its name in selector.inputs
N_FEATURES, HIDDEN = 11, 64
SPEED = 50.0  # objects cross a frame in about so many frames: makes speeds as large as places
WINDOW = 5  # frames that a speed is averaged over: boxes of masks tremble


class CourseInput(nn.Module):
    """A small network over the features of a frame; its last layer starts at zero, and so changes nothing at first."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(N_FEATURES, HIDDEN), nn.ReLU(), zero_linear(HIDDEN, dim))

    def forward(self, batch: Batch) -> Tensor:
        """(V, N, T, dim)."""
        added_VNTD: Tensor = self.project(course_features(batch))
        return added_VNTD


def zero_linear(n_inputs: int, n_outputs: int) -> nn.Linear:
    """A linear layer that gives zeros until it is trained."""
    layer = nn.Linear(n_inputs, n_outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def course_features(batch: Batch) -> Tensor:
    """(V, N, T, F): centre, its place relative to the median motion, size, speed, relative speed, whether it is seen.

    Centres and places are in −1 … 1 across the frame, sizes in shares of it, speeds in frames crossed per `SPEED`
    frames. All are 0 where the track is not seen, and at padding.
    """
    boxes_VNT4 = batch.scenes_of(batch.boxes_MT4)
    real_VNT = batch.scenes_of(within(batch.frames_M, boxes_VNT4.shape[2])) & batch.track_mask_VN[..., None]
    seen_VNT = (boxes_VNT4[..., 2] > boxes_VNT4[..., 0]) & real_VNT
    start_VNT2, end_VNT2 = boxes_VNT4.split(2, -1)
    centre_VNT2 = start_VNT2 + end_VNT2 - 1
    step_VNT2, moved_VNT = steps(centre_VNT2, seen_VNT)
    drift_V1T2 = median(step_VNT2, moved_VNT)
    speed_VNT2 = smooth(step_VNT2, moved_VNT)
    own_speed_VNT2 = smooth((step_VNT2 - drift_V1T2) * moved_VNT[..., None], moved_VNT)
    place_VNT2 = centre_VNT2 - drift_V1T2.cumsum(2)
    parts = (centre_VNT2, place_VNT2, end_VNT2 - start_VNT2, SPEED / 2 * speed_VNT2, SPEED / 2 * own_speed_VNT2)
    seen_VNT1 = seen_VNT[..., None].to(boxes_VNT4.dtype)
    return torch.cat([torch.cat(parts, -1) * seen_VNT1, seen_VNT1], -1)


def steps(centre_VNT2: Tensor, seen_VNT: Tensor) -> tuple[Tensor, Tensor]:
    """From the frame before to each frame (V, N, T, 2), and whether the track is seen in both (V, N, T); else 0."""
    moved_VNT = F.pad(seen_VNT[..., 1:] & seen_VNT[..., :-1], (1, 0))
    step_VNT2 = F.pad(centre_VNT2.diff(dim=2), (0, 0, 1, 0))
    return step_VNT2 * moved_VNT[..., None], moved_VNT


def median(step_VNT2: Tensor, moved_VNT: Tensor) -> Tensor:
    """(V, 1, T, 2) over the tracks that are seen to move or rest; 0 where there is none."""
    known_VNT2 = step_VNT2.masked_fill(~moved_VNT[..., None], torch.nan)
    return known_VNT2.nanquantile(0.5, dim=1, keepdim=True).nan_to_num(0.0)


def smooth(step_VNT2: Tensor, moved_VNT: Tensor) -> Tensor:
    """(V, N, T, 2) mean over the known steps of a window around each frame; 0 where none is known."""
    known_VNT1 = moved_VNT[..., None].to(step_VNT2.dtype)
    return _window(step_VNT2) / _window(known_VNT1).clamp(min=1 / WINDOW)


def _window(x_VNTK: Tensor) -> Tensor:
    """Mean over a window, with zeros beyond the ends."""
    v, n, t, k = x_VNTK.shape
    x_MKT = x_VNTK.reshape(v * n, t, k).transpose(1, 2)
    return F.avg_pool1d(x_MKT, WINDOW, stride=1, padding=WINDOW // 2).transpose(1, 2).reshape(v, n, t, k)
