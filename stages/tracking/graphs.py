"""CUDA graphs: many launches replayed as one, for shapes that come again and again."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)
Function = Callable[..., tuple[Tensor, ...]]
WARM_UPS = 2  # before capture: kernels are loaded and chosen, and caches are filled


def graphed(function: Function, examples: Sequence[Tensor], what: str, pool: Any = None) -> Function | None:
    """`function` as a CUDA graph for inputs on the device like the examples.

    It is compared with its launches one by one; where it fails or gives anything else, a line in the log says so, and there is
    none. What the function reads besides must stay as it is.

    Args:
        pool: of memory, shared with other graphs.
    """
    try:
        replay = _captured(function, examples, pool)
        launched = function(*examples)
        same = all(torch.equal(a, b) for a, b in zip(replay(*examples), launched, strict=True))
        reason = None if same else "it gives something else"
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
    if reason is not None:
        log.warning("%s without a CUDA graph: %s", what, reason)
        return None
    return replay


def _captured(function: Function, examples: Sequence[Tensor], pool: Any) -> Function:
    given = [example.clone() for example in examples]
    current, aside = torch.cuda.current_stream(given[0].device), torch.cuda.Stream(given[0].device)
    aside.wait_stream(current)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            function(*given)
    current.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(
        graph, pool=pool, capture_error_mode="thread_local"
    ):  # other threads go on allocating meanwhile
        outputs = function(*given)

    def replay(*inputs: Tensor) -> tuple[Tensor, ...]:
        for static, new in zip(given, inputs, strict=True):
            static.copy_(new, non_blocking=True)
        graph.replay()
        return tuple(output.clone() for output in outputs)

    return replay


class Replays:
    """Replays a function as a graph, one for inputs of the same shapes.

    Args:
        what: the work in words, for the log.
        largest: first dimension of the first input up to which that is worth it; 0 = never.
        after: so many calls, when a graph is worth its capture.
    """

    def __init__(self, what: str, largest: int, after: int) -> None:
        self.what, self.largest, self.after = what, largest, after
        self._calls: Counter[tuple[torch.Size, ...]] = Counter()
        self._graphs: dict[
            tuple[torch.Size, ...], tuple[Function, Function]
        ] = {}  # and what it is of, to be kept alive
        self._pool: Any = None

    def __call__(self, function: Function, *inputs: Tensor) -> tuple[Tensor, ...]:
        """`function` must compute the same each time: the one of an earlier call is replayed."""
        if len(inputs[0]) > self.largest:
            return function(*inputs)
        shapes = tuple(tensor.shape for tensor in inputs)
        self._calls[shapes] += 1
        if self._calls[shapes] == self.after:
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            replay = graphed(function, inputs, f"{self.what} of {len(inputs[0])}", self._pool)
            self._graphs[shapes] = (replay or function, function)
        return self._graphs.get(shapes, (function,))[0](*inputs)
