"""SAM2's heads for a batch of tracks on one frame: prompt, mask decoder, memory encoder.

The sam2 package's own modules. Against the stock predictor only waste is gone: of three candidate masks only
the chosen one is enlarged, constants are computed once, and so is what depends on the frame alone.

Legend: B tracks, M = 3 candidate masks, C = 256 channels, h × w = stride 16, L = h·w, D = 64 channels of a
memory, S = side of the model's square input, H × W = size of the video.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sam2.modeling.sam2_base import NO_OBJ_SCORE
from sam2.modeling.sam2_utils import LayerNorm2d
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor, nn

from stages.tracking.compiler import Compiler
from stages.tracking.encoder import Features
from stages.tracking.graphs import Replays
from stages.tracking.transfers import to_device

# With up to 4 tracks a device is done before the next step is launched, so a graph should pay. 0 = none: no GPU has replayed steps yet.
GRAPHED, GRAPH_AFTER = 0, 32


class Prediction(NamedTuple):
    """What a frame gives a track.

    Attributes:
        logits_B1hw: float32 mask logits at stride 4.
        pointer_BC: float32 object pointers.
        score_B1: object-score logits.
        iou_B: predicted IoU of the chosen mask.
        memory_BLD: for the memory bank.
    """

    logits_B1hw: Tensor
    pointer_BC: Tensor
    score_B1: Tensor
    iou_B: Tensor
    memory_BLD: Tensor

    def first(self, n: int) -> "Prediction":
        """Without what padded the batch."""
        return Prediction(*(part[:n] for part in self))


class NormOnce(LayerNorm2d):
    """The package's norm over channels, which subtracts the mean twice."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        x = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class NoPosition(nn.Module):
    """For a memory encoder whose positions are known."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:0]


def lean(model: nn.Module) -> None:
    """Lets the norms over channels do what they do once."""
    for module in model.modules():
        if type(module) is LayerNorm2d:
            module.__class__ = NormOnce


class Heads:
    """The heads of `model`, which is taken over: its memory encoder is laid out channels last.

    Args:
        graph: whether a GPU may replay steps of a few tracks as CUDA graphs.

    Raises:
        ValueError: a flag of the model couples tracks or changes what is stored in memory.
    """

    def __init__(self, model: SAM2VideoPredictor, compiler: Compiler, graph: bool = False) -> None:
        check_supported(model)
        self.model, self.compiler = model, compiler
        lean(model)
        model.memory_encoder.to(memory_format=torch.channels_last)  # nearly twice as fast on the CPU
        self._position = model.memory_encoder.position_encoding
        model.memory_encoder.position_encoding = NoPosition()
        self._decoder = compiler(model.sam_mask_decoder)
        self._encode_memory = compiler(model._encode_new_memory)
        points = torch.zeros(1, 1, 2, device=model.device)
        labels = -torch.ones(1, 1, dtype=torch.int32, device=model.device)
        self._no_prompt = model.sam_prompt_encoder(points=(points, labels), boxes=None, masks=None)
        self._place_1Chw = model.sam_prompt_encoder.get_dense_pe()
        self._rows = torch.arange(64, device=model.device)
        graph = graph and model.device.type == "cuda" and compiler.backend is None
        self.replays = Replays("steps", GRAPHED if graph else 0, GRAPH_AFTER)
        self._absent = torch.full((), NO_OBJ_SCORE, device=model.device)

    def prompt(self, features: Features, masks_B: Sequence[NDArray[np.bool_]]) -> Prediction:
        """What mask prompts of the video's size give in their own frame.

        The memory is that of the stride-4 logits, enlarged again, and not that of the mask.
        """
        model, b = self.model, len(masks_B)
        given_B1SS = self.prompt_masks(np.stack(masks_B))
        fine = [level.expand(b, -1, -1, -1) for level in features.fine]
        coarse = features.top_1Chw.expand(b, -1, -1, -1)
        logits, _, ious, _, _, pointer, score = model._use_mask_as_output(coarse, fine, given_B1SS)
        memory_BLD = self.memory(features, self.enlarged(logits), score, from_prompt=True)
        return Prediction(logits, pointer, score, ious[:, 0], memory_BLD)

    def prompt_masks(self, masks_BHW: NDArray[np.bool_]) -> Tensor:
        """Masks of the video's size at the model's, (B, 1, S, S) zeros and ones."""
        side = self.model.image_size
        given_B1HW = to_device(torch.from_numpy(masks_BHW)[:, None], self.model.device).float()
        if given_B1HW.shape[-2:] == (side, side):
            return given_B1HW
        resized = F.interpolate(given_B1HW, (side, side), mode="bilinear", align_corners=False, antialias=True)
        return (resized >= 0.5).float()

    def follow(self, features: Features, conditioned_BLC: Tensor) -> Prediction:
        """What conditioned features give."""
        coarse_BChw = conditioned_BLC.transpose(1, 2).unflatten(2, features.top_1Chw.shape[-2:])
        logits_BMhw, iou_BM, token_BMC, score_B1 = self.decode(coarse_BChw, features.fine)
        if len(iou_BM) > len(self._rows):
            self._rows = torch.arange(len(iou_BM), device=iou_BM.device)
        rows_B, best_B = self._rows[: len(iou_BM)], iou_BM.argmax(-1)
        logits_B1hw = self.gated(logits_BMhw[rows_B, best_B][:, None], score_B1).float()
        token_BC = token_BMC[rows_B, best_B] if token_BMC.shape[1] > 1 else token_BMC[:, 0]
        pointer_BC = self.pointer(token_BC, score_B1)
        memory_BLD = self.memory(features, self.enlarged(logits_B1hw), score_B1, from_prompt=False)
        return Prediction(logits_B1hw, pointer_BC, score_B1, iou_BM[rows_B, best_B], memory_BLD)

    def decode(self, coarse_BChw: Tensor, fine: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Candidates of the mask decoder: logits, predicted IoUs, tokens, object scores."""
        sparse, dense = (part.expand(len(coarse_BChw), *part.shape[1:]) for part in self._no_prompt)
        return self._decoder(
            image_embeddings=coarse_BChw,
            image_pe=self._place_1Chw,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=self.model._use_multimask(is_init_cond_frame=False, point_inputs=None),
            repeat_image=False,
            high_res_features=list(fine),
        )

    def gated(self, logits_B1hw: Tensor, score_B1: Tensor) -> Tensor:
        """An absent object has no mask."""
        return torch.where(score_B1[:, :, None, None] > 0, logits_B1hw, self._absent)

    def pointer(self, token_BC: Tensor, score_B1: Tensor) -> Tensor:
        """An absent object has one learned pointer."""
        pointer_BC, absent_1C = self.model.obj_ptr_proj(token_BC), self.model.no_obj_ptr
        if self.model.fixed_no_obj_ptr:
            return torch.where(score_B1 > 0, pointer_BC, absent_1C)
        return pointer_BC + (1 - (score_B1 > 0).float()) * absent_1C

    def memory_position(self, memory_BLD: Tensor, features: Features) -> Tensor:
        """The position encoding of such memories, (1, D, h, w), in their own precision as the package has it."""
        blank_1Dhw = memory_BLD[:1].transpose(1, 2).unflatten(2, features.top_1Chw.shape[-2:])
        return self._position(blank_1Dhw).to(memory_BLD.dtype)

    def enlarged(self, logits_B1hw: Tensor) -> Tensor:
        side = self.model.image_size
        return F.interpolate(logits_B1hw, size=(side, side), mode="bilinear", align_corners=False)

    def memory(self, features: Features, logits_B1SS: Tensor, score_B1: Tensor, *, from_prompt: bool) -> Tensor:
        """The memory of masks, (B, L, D); the frame's half of it is computed once for all tracks."""
        memory_BDhw, _ = self._encode_memory(
            current_vision_feats=[features.top_1Chw.flatten(2).permute(2, 0, 1)],
            feat_sizes=[tuple(features.top_1Chw.shape[-2:])],
            pred_masks_high_res=logits_B1SS,
            object_score_logits=score_B1,
            is_mask_from_pts=from_prompt,
        )
        return memory_BDhw.flatten(2).transpose(1, 2)


# Flags of the model that tracking in lock step relies on. All published configs have these values.
REQUIRED = {
    "memory_temporal_stride_for_eval": 1,
    "non_overlap_masks_for_mem_enc": False,
    "non_overlap_masks": False,
    "fill_hole_area": 0,
    "binarize_mask_from_pts_for_mem_enc": True,
    "use_mask_input_as_output_without_sam": True,
    "use_obj_ptrs_in_encoder": True,
    "use_high_res_features_in_sam": True,
    "pred_obj_scores": True,
    "soft_no_obj_ptr": False,
    "clear_non_cond_mem_around_input": False,
}


def check_supported(model: SAM2VideoPredictor) -> None:
    """Raises ValueError for a model that must be tracked by the stock engine."""
    wrong = [
        f"{name} is {getattr(model, name)!r}, needs {value!r}"
        for name, value in REQUIRED.items()
        if getattr(model, name) != value
    ]
    if wrong:
        raise ValueError(
            f"models.sam2.config: cannot be tracked in lock step ({'; '.join(wrong)}): set tracks.engine to stock"
        )
