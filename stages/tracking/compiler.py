"""Optional compilation of what runs on a batch of tracks (`tracks.compile`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

RECOMPILE_LIMIT = 64  # batch sizes 1, 2, 4 … for every layer


@dataclass(frozen=True)
class Compiler:
    """Compiles functions with a backend of torch.compile, or leaves them as they are (None).

    Compiled code is for one batch size, so batches are padded to a power of two.

    Attributes:
        fused: whether what is not compiled may use kernels of our own (`stages.tracking.rotary`).
    """

    backend: str | None
    fused: bool = False

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if self.backend is None:
            return function
        compiled = torch.compile(function, backend=self.backend, dynamic=False)
        limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)

        def call(*positional: Any, **named: Any) -> Any:
            with torch._dynamo.config.patch(recompile_limit=limit):
                return compiled(*positional, **named)

        return call

    def padded(self, n: int, limit: int) -> int:
        """Batch size for `n` tracks where a batch holds at most `limit`."""
        return n if self.backend is None else min(limit, 1 << (n - 1).bit_length())
