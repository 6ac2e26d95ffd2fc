"""Where tracks are and how they move: boxes over time, read at a fixed number of times.

A video's courses are comparable whatever its length: each track is read at R times from the first frame to the last,
between frames by interpolation. While a track is out of sight it stays where it was last seen, or will be first. A
camera that moves carries all tracks with it, so places are given a second time relative to the median motion.

Legend: V scenes, N tracks of a scene, M tracks of all videos, T frames, R times.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.selectors.batch import Batch
from stages.selectors.course_input import median, steps

OWN, PAIR = 10, 4  # features of a track and of a pair at a time
SPEED = 40.0  # makes speeds, in frames crossed per frame, as large as places
SIDE, AREA, GAP = 3.0, 4.0, 3.0  # the same for sides of boxes, roots of areas, and distances of two tracks
USUAL_FRAMES = 22.0  # the logarithm of a video's length is given relative to this


@dataclass(frozen=True)
class Noise:
    """What training adds to courses; see `CourseModel`."""

    place: float
    size: float
    missed: float


@dataclass(frozen=True)
class Courses:
    """Of the tracks of each scene.

    Attributes:
        own_VNF: (V, N, R · OWN + 1) what is known of each track, and the video's length.
        pair_VNNP: (V, N, N, R · PAIR) [i, j] = track j as seen from track i.
    """

    own_VNF: Tensor
    pair_VNNP: Tensor


@torch.no_grad()
def read_courses(batch: Batch, n_times: int, noise: Noise | None) -> Courses:
    """The courses of all scenes of a batch; 0 at padding."""
    centre_MT2, side_MT2, seen_MT = _boxes(batch, noise)
    at_MR, near_MR = _times(batch.frames_M, n_times)
    centre_MR2 = _between(_held(centre_MT2, seen_MT), at_MR, batch.frames_M)
    side_MR2, area_MR, seen_MR = _pick(side_MT2, near_MR), _pick(batch.area_MT, near_MR), _pick(seen_MT, near_MR)
    speed_MR2 = torch.gradient(centre_MR2, dim=1)[0] * (n_times / batch.frames_M)[:, None, None]
    length_M = (batch.frames_M / USUAL_FRAMES).log()
    seen_MR1 = seen_MR[..., None].to(side_MR2.dtype)
    plain_MRK = torch.cat(
        [
            2 * centre_MR2 - 1,
            seen_MR1,
            SIDE * side_MR2 * seen_MR1,
            AREA * area_MR.sqrt()[..., None] * seen_MR1,
            SPEED * speed_MR2,
        ],
        -1,
    )
    real_VN1 = batch.track_mask_VN[..., None]
    centre_VNR2, seen_VNR = batch.scenes_of(centre_MR2), batch.scenes_of(seen_MR) & real_VN1
    steady_VNR2 = 2 * (centre_VNR2 - _drift(centre_VNR2, seen_VNR)) - 1
    own_VNRK = torch.cat([batch.scenes_of(plain_MRK), steady_VNR2], -1)
    own_VNF = torch.cat([own_VNRK.flatten(2), batch.scenes_of(length_M)[..., None]], -1) * real_VN1
    return Courses(own_VNF, _pairs(centre_VNR2, seen_VNR))


def _boxes(batch: Batch, noise: Noise | None) -> tuple[Tensor, Tensor, Tensor]:
    """Centres and sides (M, T, 2) in shares of the frame, and where tracks are seen (M, T)."""
    start_MT2, end_MT2 = batch.boxes_MT4.split(2, -1)
    seen_MT = batch.visible_MT & (end_MT2 > start_MT2).all(-1)
    centre_MT2, side_MT2 = (start_MT2 + end_MT2) / 2, end_MT2 - start_MT2
    if noise is None:
        return centre_MT2, side_MT2, seen_MT
    centre_MT2 = centre_MT2 + noise.place * torch.randn_like(centre_MT2)
    side_MT2 = side_MT2 * (noise.size * torch.randn_like(side_MT2)).exp()
    return centre_MT2, side_MT2, seen_MT & (torch.rand_like(batch.area_MT) >= noise.missed)


def _times(frames_M: Tensor, n_times: int) -> tuple[Tensor, Tensor]:
    """(M, R) the times, in frames: exactly, and the nearest frame."""
    share_R = torch.linspace(0, 1, n_times, device=frames_M.device)
    at_MR = (frames_M - 1)[:, None] * share_R
    return at_MR, at_MR.round().long()


def _held(centre_MT2: Tensor, seen_MT: Tensor) -> Tensor:
    """Centres that stay where a track was last seen, or will be first; the middle where it never is."""
    index_T = torch.arange(seen_MT.shape[1], device=seen_MT.device)
    last_MT = torch.where(seen_MT, index_T, -1).cummax(1).values
    first_M1 = seen_MT.to(torch.uint8).argmax(1, keepdim=True)
    held_MT2 = _pick(centre_MT2, torch.where(last_MT < 0, first_M1, last_MT))
    return torch.where(seen_MT.any(1)[:, None, None], held_MT2, 0.5)


def _between(x_MTK: Tensor, at_MR: Tensor, frames_M: Tensor) -> Tensor:
    """(M, R, K) linear between the frames."""
    low_MR = at_MR.floor().long()
    high_MR = torch.minimum(low_MR + 1, (frames_M - 1)[:, None])
    share_MR1 = (at_MR - low_MR)[..., None]
    return _pick(x_MTK, low_MR) * (1 - share_MR1) + _pick(x_MTK, high_MR) * share_MR1


def _pick(x_MT: Tensor, index_MR: Tensor) -> Tensor:
    """(M, R, …) values at some frames."""
    row_M1 = torch.arange(len(x_MT), device=x_MT.device)[:, None]
    return x_MT[row_M1, index_MR]


def _drift(centre_VNR2: Tensor, seen_VNR: Tensor) -> Tensor:
    """(V, 1, R, 2) how far the median track has moved since the first time."""
    return median(*steps(centre_VNR2, seen_VNR)).cumsum(2)


def _pairs(centre_VNR2: Tensor, seen_VNR: Tensor) -> Tensor:
    """(V, N, N, R · PAIR): offset, distance, and whether both are seen."""
    offset_VNNR2 = GAP * (centre_VNR2[:, None] - centre_VNR2[:, :, None])
    apart_VNNR1 = torch.linalg.vector_norm(offset_VNNR2, dim=-1, keepdim=True)
    both_VNNR1 = (seen_VNR[:, None] & seen_VNR[:, :, None])[..., None].to(offset_VNNR2.dtype)
    return torch.cat([offset_VNNR2, apart_VNNR1, both_VNNR1], -1).flatten(3)


def mean_tokens(batch: Batch) -> Tensor:
    """(M, C) mean object token of each track over the frames it is visible in; 0 where it never is."""
    seen_MT1 = batch.visible_MT[..., None]
    total_MC = (batch.tokens_MTC * seen_MT1).sum(1)
    return total_MC / seen_MT1.sum(1).clamp(min=1)
