"""SAM2's image encoder on one frame. On a GPU its thousand launches are replayed as one CUDA graph.

Legend: S = side of the model's square input, L = h·w tokens at stride 16, C = 256 channels.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from stages.tracking.model_frames import Normaliser

log = logging.getLogger(__name__)
Encode = Callable[[Tensor], tuple[Tensor, ...]]
WARM_UPS = 2  # before capture: kernels are loaded and chosen, and the package fills its caches


class Features(NamedTuple):
    """What tracking needs of a frame.

    Attributes:
        top_1Chw: features at stride 16, conditioned on memories.
        fine: the mask decoder's two finer levels, (1, C/8, 4h, 4w) and (1, C/4, 2h, 2w), projected.
    """

    top_1Chw: Tensor
    fine: tuple[Tensor, Tensor]


class Encoder:
    """Pixels → features.

    Args:
        graph: whether a GPU may replay a graph, which changes no bit: it is compared with the launches one by one.

    Attributes:
        position_1LC: the position encoding of a frame's tokens, the same for all; None before the first.
    """

    def __init__(self, model: SAM2Base, graph: bool = True) -> None:
        self.model, self.position_1LC = model, None
        self._normalise = Normaliser(model.device)
        self._encode: Encode | None = None if graph and model.device.type == "cuda" else self._launch

    def __call__(self, pixels_SS3: Tensor) -> Features:
        """The features of a frame's pixels, uint8 on the host; pinned ones are not waited for."""
        pixels_SS3 = pixels_SS3.to(self.model.device, non_blocking=True)
        if self._encode is None:
            self._encode = graphed(self._launch, pixels_SS3) or self._launch
        top, finest, finer = self._encode(pixels_SS3)
        return Features(top, (finest, finer))

    def _launch(self, pixels_SS3: Tensor) -> tuple[Tensor, ...]:
        out = self.model.forward_image(self._normalise(pixels_SS3)[None])
        if self.position_1LC is None:
            self.position_1LC = out["vision_pos_enc"][-1].flatten(2).transpose(1, 2)
        fpn = out["backbone_fpn"]
        # In one layout wherever features are kept: another may run other kernels, which round otherwise.
        return fpn[-1].contiguous(), fpn[-3].contiguous(), fpn[-2].contiguous()


def graphed(function: Encode, example: Tensor) -> Encode | None:
    """`function` as a CUDA graph for inputs like `example`; None, with a line in the log, where that fails or differs."""
    try:
        replay = _captured(function, example)
        same = all(torch.equal(a, b) for a, b in zip(replay(example), function(example), strict=True))
        reason = None if same else "it gives other features"
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
    if reason is not None:
        log.warning("the image encoder runs without a CUDA graph: %s", reason)
        return None
    return replay


def _captured(function: Encode, example: Tensor) -> Encode:
    given, current = example.clone(), torch.cuda.current_stream(example.device)
    aside = torch.cuda.Stream(example.device)
    aside.wait_stream(current)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            function(given)
    current.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads go on allocating meanwhile
        outputs = function(given)

    def replay(tensor: Tensor) -> tuple[Tensor, ...]:
        given.copy_(tensor)
        graph.replay()
        return tuple(output.clone() for output in outputs)

    return replay
