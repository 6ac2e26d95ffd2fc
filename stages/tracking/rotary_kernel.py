"""Rotary encoding in place, in one pass over bfloat16, by Triton. Imported where there is a GPU alone.

Legend: B tracks, h heads, K tokens, L tokens of a frame, F = C/2 pairs of channels.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 8  # tokens per program


def turn(x_BhKC: Tensor, n: int, rotation_LF: Tensor) -> Tensor:
    """A contiguous tensor whose first `n` tokens are turned, in place; computed in float32, rounded once."""
    batch, heads, tokens, width = x_BhKC.shape
    assert x_BhKC.is_contiguous() and rotation_LF.is_contiguous() and width == 2 * rotation_LF.shape[1]
    grid = (triton.cdiv(n, ROWS), batch * heads)
    with torch.cuda.device_of(x_BhKC):
        _turn[grid](x_BhKC, torch.view_as_real(rotation_LF), n, tokens, len(rotation_LF), width // 2, ROWS)
    return x_BhKC


@triton.jit
def _turn(x, rotation, n, tokens, length, PAIRS: tl.constexpr, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    pair = tl.arange(0, PAIRS)
    within = (row < n)[:, None]
    at = (tl.program_id(1).to(tl.int64) * tokens + row)[:, None] * (2 * PAIRS) + 2 * pair[None, :]
    place = (row % length)[:, None] * (2 * PAIRS) + 2 * pair[None, :]
    real = tl.load(x + at, mask=within).to(tl.float32)
    imaginary = tl.load(x + at + 1, mask=within).to(tl.float32)
    cosine = tl.load(rotation + place, mask=within)
    sine = tl.load(rotation + place + 1, mask=within)
    kind = x.dtype.element_ty
    tl.store(x + at, (real * cosine - imaginary * sine).to(kind), mask=within)
    tl.store(x + at + 1, (real * sine + imaginary * cosine).to(kind), mask=within)
