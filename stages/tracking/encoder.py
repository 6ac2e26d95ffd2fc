"""SAM2's image encoder on one frame. On a GPU its thousand launches are replayed as one CUDA graph.

Legend: S = side of the model's square input, L = h·w tokens at stride 16, C = 256 channels.
"""

from typing import NamedTuple

from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from stages.tracking.graphs import Function, graphed
from stages.tracking.model_frames import Normaliser


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
        self._encode: Function | None = None if graph and model.device.type == "cuda" else self._launch

    def __call__(self, pixels_SS3: Tensor) -> Features:
        """The features of a frame's pixels, uint8 on the host; pinned ones are not waited for."""
        pixels_SS3 = pixels_SS3.to(self.model.device, non_blocking=True)
        if self._encode is None:
            self._encode = graphed(self._launch, [pixels_SS3], "image encoder") or self._launch
        top, finest, finer = self._encode(pixels_SS3)
        return Features(top, (finest, finer))

    def _launch(self, pixels_SS3: Tensor) -> tuple[Tensor, ...]:
        out = self.model.forward_image(self._normalise(pixels_SS3)[None])
        if self.position_1LC is None:
            self.position_1LC = out["vision_pos_enc"][-1].flatten(2).transpose(1, 2)
        fpn = out["backbone_fpn"]
        # In one layout wherever features are kept: another may run other kernels, which round otherwise.
        return fpn[-1].contiguous(), fpn[-3].contiguous(), fpn[-2].contiguous()
