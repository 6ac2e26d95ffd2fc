"""The rotary encoding of SAM2's memory attention: pairs of channels, as complex numbers, times a rotation by place.

Legend: B or b tracks, h heads, L tokens of a frame, K keys, C channels per head, F = C/2 pairs.
"""

import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

log = logging.getLogger(__name__)
Turn = Callable[[Tensor, int, Tensor], Tensor]
ROUNDING = 2**-7  # between bfloat16 numbers that are rounded from almost the same float32


class Rotary:
    """Turns queries and keys.

    Args:
        rotation_LF: complex64, of a frame's tokens.
        fused: whether a GPU may do it in one kernel of Triton, in place, instead of by way of float32 copies: a fifth of the
            memory traffic. What is rounded to bfloat16 differs in the last bit of float32 at most.
    """

    def __init__(self, rotation_LF: Tensor, fused: bool = False) -> None:
        self.rotation_LF = rotation_LF
        on_gpu = rotation_LF.device.type == "cuda"
        self._kernel = fused_turn(rotation_LF.device, *rotation_LF.shape) if fused and on_gpu else None

    def __call__(self, q_BhLC: Tensor, k_bhKC: Tensor, n_plain: int = 0) -> tuple[Tensor, Tensor]:
        """A frame's queries, and all but the last `n_plain` keys: whole frames of L tokens each. May work in place.

        Where both are copied, one frame's queries (B = 1) are repeated for all keys by the way.
        """
        n_q, n_rotated = q_BhLC.shape[2], k_bhKC.shape[2] - n_plain
        turn = turned if q_BhLC.dtype == torch.float32 else self._kernel
        if turn is not None and q_BhLC.is_contiguous() and k_bhKC.is_contiguous():
            return turn(q_BhLC, n_q, self.rotation_LF), turn(k_bhKC, n_rotated, self.rotation_LF)
        b, heads, n_k, width = k_bhKC.shape
        both = torch.empty(b, heads, n_q + n_k, width, dtype=torch.float32, device=k_bhKC.device)
        both[:, :, :n_q].copy_(q_BhLC)
        both[:, :, n_q:].copy_(k_bhKC)
        q, k = turned(both, n_q + n_rotated, self.rotation_LF).to(q_BhLC.dtype).split([n_q, n_k], 2)
        return q, k


def turned(x_BhKC: Tensor, n: int, rotation_LF: Tensor) -> Tensor:
    """A float32 tensor whose first `n` tokens are turned, in place."""
    frames = x_BhKC[:, :, :n].unflatten(2, (-1, len(rotation_LF))).unflatten(-1, (-1, 2))
    torch.view_as_complex(frames).mul_(rotation_LF)
    return x_BhKC


@cache
def fused_turn(device: torch.device, length: int, pairs: int) -> Turn | None:
    """The kernel, tried on numbers first; None, with a line in the log, where it does not run or gives anything else."""
    angles_LF = torch.linspace(0, 100, length * pairs, device=device).view(length, pairs)
    rotation_LF, n = torch.polar(torch.ones_like(angles_LF), angles_LF), 2 * length
    tried = (
        torch.linspace(0, 1000, 2 * (n + 3) * 2 * pairs, device=device).sin().view(2, 1, n + 3, 2 * pairs).bfloat16()
    )
    try:
        from stages.tracking.rotary_kernel import turn

        ours = turn(tried.clone(), n, rotation_LF).float()
    except Exception as error:  # of Triton, of its compiler, of the driver
        log.info("rotary encoding without Triton's kernel: %s", f"{type(error).__name__}: {error}".splitlines()[0])
        return None
    if not torch.allclose(ours, turned(tried.float(), n, rotation_LF), rtol=ROUNDING, atol=0):
        log.warning("rotary encoding without Triton's kernel: it gives other numbers")
        return None
    return turn
