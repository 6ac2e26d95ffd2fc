"""From mask logits on the device to COCO's run lengths, 32 masks at a time, as the engine does it for each frame.

The plain way enlarges the logits, copies the masks to the CPU and lets pycocotools encode a transposed copy.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco

from benchmarks.gpu.run import Row, Run, markdown
from stages.tracking.recorder import RunLengths

CODE = ("stages/tracking/recorder.py", "stages/tracking/transfers.py", "stages/core/media")
SIZES, MASKS = ((540, 960), (720, 1280), (1080, 1920)), 32
TARGETS = {540: 0.3, 720: 0.4, 1080: 0.8}  # ms per mask


def measure(run: Run) -> Iterator[tuple[str, Row]]:
    sizes, n = (((96, 128),), 4) if run.tiny else (SIZES, MASKS)
    logits_B1hw = drawn(n, 32 if run.tiny else 256).to(run.device)
    yield from run.each({f"{size[0]} lines": lambda size=size: one_size(run, logits_B1hw, size) for size in sizes})


def one_size(run: Run, logits_B1hw: torch.Tensor, size: tuple[int, int]) -> Row:
    convert = RunLengths(size, logits_B1hw.device)
    ours = [rle["counts"] for rle in convert(logits_B1hw)]
    if ours != plain(logits_B1hw, size):
        raise ValueError("the run lengths differ")
    times = {
        "ms": run.seconds(lambda: convert(logits_B1hw)),
        "plain ms": run.seconds(lambda: plain(logits_B1hw, size)),
    }
    return {name: round(1e3 * taken["min"] / len(logits_B1hw), 3) for name, taken in times.items()}


def plain(logits_B1hw: torch.Tensor, size: tuple[int, int]) -> list[str]:
    large_B1HW = F.interpolate(logits_B1hw, size=size, mode="bilinear", align_corners=False)
    masks_BHW = (large_B1HW[:, 0] > 0).cpu().numpy()
    return [coco.encode(np.asfortranarray(mask_HW).view(np.uint8))["counts"].decode() for mask_HW in masks_BHW]


def drawn(n: int, side: int) -> torch.Tensor:
    """Logits (n, 1, side, side) of wobbly discs of many sizes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    rows: list[Any] = []
    for _ in range(n):
        (cy, cx), radius, phase = rng.random(2), rng.uniform(0.05, 0.3), rng.random() * 6
        angle = np.arctan2(y - cy, x - cx)
        rows.append(20 * (radius * (1 + 0.2 * np.sin(5 * angle + phase)) - np.hypot(y - cy, x - cx)))
    return torch.tensor(np.stack(rows), dtype=torch.float32)[:, None]


def table(rows: Mapping[str, Row]) -> str:
    lines = [(name, row["ms"], row["plain ms"], TARGETS.get(int(name.split()[0]), "")) for name, row in rows.items()]
    return markdown(("", "ms per mask", "plain, ms", "target, ms"), lines)
