"""What parts of the pipeline compute, and how long a card takes for it. Computed, not measured: expect a factor of two either way.

Time of a part = operations / (0.6 · peak of the arithmetic) + pointwise traffic / memory bandwidth, or 5 µs per kernel that is
launched where that is more. Operations are counted (torch's FlopCounterMode on the published shapes), traffic and launches are
those of a review of the GPU path. Peaks and bandwidths are the makers': dense bfloat16 with float32 sums, and float32 without
TF32. `python -m benchmarks.cost` prints what follows for an hour of video, beside what was measured.
"""

from collections.abc import Iterable
from pathlib import PurePath
from typing import NamedTuple

from stages.core.config.file import Model

SHARE_OF_PEAK, LAUNCH_US = 0.6, 5.0


class Card(NamedTuple):
    """Peaks in TFLOP/s, bandwidth in TB/s, memory in GB."""

    bfloat16: float
    float32: float
    bandwidth: float
    memory: float


class Work(NamedTuple):
    """GFLOP, GB of pointwise traffic in bfloat16, kernels launched, and the arithmetic."""

    gflop: float
    gb: float
    launches: float = 0
    precision: str = "bfloat16"


class Load(NamedTuple):
    """A work, and how often it is done."""

    work: Work
    times: float


CARDS = {
    "12 GB (RTX 4070)": Card(58, 29, 0.50, 12),
    "24 GB (RTX 4090)": Card(165, 83, 1.01, 24),
    "80 GB (A100)": Card(312, 19.5, 2.04, 80),
    "80 GB (H100)": Card(989, 67, 3.35, 80),
    "141 GB (H200)": Card(989, 67, 4.8, 141),
}
# A track in a frame costs the same in every SAM2: memory attention over 7 memories and 64 pointer tokens.
OBJECT_FRAME = Work(630, 3.0, 400 / 8)  # of a step of 8 tracks
POINTS = Work(1100, 12, 300)  # of a frame: 1024 points through SAM2's mask decoder
ENCODINGS = {"hiera_t": Work(292, 4.6, 500), "hiera_l": Work(1823, 19.7, 850)}  # a frame through SAM2's encoder
SEEING = Work(8 * 0.4, 0)  # a picture's token before it is read: 0.4 billion parameters, over four patches per token


def encoding(config: str) -> Work:
    """A frame through the encoder of a SAM2.

    Args:
        config: of its package, as "configs/sam2/sam2_hiera_l.yaml".

    Raises:
        ValueError: it was not counted.
    """
    name = PurePath(config).stem.partition("_")[2]
    if name not in ENCODINGS:
        raise ValueError(f"what SAM2 takes as {config} was not counted; known: {', '.join(ENCODINGS)}")
    return ENCODINGS[name]


def reading(model: Model) -> Work:
    """A token that a multimodal LLM reads; raises ValueError where its size is not known."""
    if model.billions is None:
        raise ValueError(
            f"how many parameters {model.hub or model.path} has is not said: give `billions` of its preset"
        )
    return Work(2 * model.billions, 0.02)


def seconds(loads: Iterable[Load], card: Card) -> float:
    return sum(load.times * milliseconds(load.work, card) for load in loads) / 1e3


def milliseconds(work: Work, card: Card) -> float:
    """Of one unit; float32 moves twice the bytes."""
    peak, wide = (card.bfloat16, 1) if work.precision == "bfloat16" else (card.float32, 2)
    busy = work.gflop / (SHARE_OF_PEAK * peak) + wide * work.gb / card.bandwidth
    return max(busy, work.launches * LAUNCH_US / 1e3)
