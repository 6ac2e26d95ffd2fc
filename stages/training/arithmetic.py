"""Reproducible arithmetic: the same inputs give the same bits on one machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def autocast(device: str, precision: str) -> torch.autocast:
    """Matrix products in bfloat16 on a GPU where the config says so; the CPU computes in float32."""
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda" and precision == "bfloat16")


def no_autocast(like: Tensor) -> torch.autocast:
    """Full precision within autocast, for sums and for scores that decide."""
    return torch.autocast(like.device.type, enabled=False)


def seed_torch(*key: int) -> None:
    """Seeds torch from some numbers, such as seed, step and rank: a resumed training needs no random state."""
    words = np.random.SeedSequence([number & 0xFFFFFFFF for number in key]).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))


@contextmanager
def deterministic() -> Iterator[None]:
    """Algorithms that add in one order, where torch has them (a warning names the others)."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with sdpa_kernel(SDPBackend.MATH):  # the fused backward passes add in varying order
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
