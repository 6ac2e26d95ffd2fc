"""From a [SEG] token to a mask: SAM2's mask decoder on one frame without memory, the token being its only prompt.

One padding point gives two not-a-point tokens, and the projected state is appended as a third; of three masks the one
of highest predicted IoU counts. Training and prompts decode by the same functions, so nothing here ends gradients.

Legend: B tokens, C = 256 channels, h × w mask logits (stride 4), S = side of SAM2's square input, H × W the frame.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from sam2.modeling.sam2_base import NO_OBJ_SCORE, SAM2Base
from torch import Tensor

from stages.tracking.model_frames import MEAN, STD

# "forced" = an object is there whatever its score says; "predicted" = there is no mask where the score is not above 0.
ObjectScore = Literal["forced", "predicted"]
# How a frame becomes SAM2's square input: "squashed" = without its aspect; "padded" = with it, beside black.
Placed = Literal["squashed", "padded"]


class FrameFeatures(NamedTuple):
    """What the mask decoder reads of a frame.

    Attributes:
        top_1Chw: stride 16, with the embedding for "no memory" added.
        fine: the two finer levels, projected by the mask decoder's own convolutions.
    """

    top_1Chw: Tensor
    fine: tuple[Tensor, Tensor]


class Decoded(NamedTuple):
    """Of B tokens in one frame.

    Attributes:
        logits_Bhw: float32, of the chosen mask.
        iou_B: its predicted IoU.
        score_B: object-score logits, as they were predicted.
    """

    logits_Bhw: Tensor
    iou_B: Tensor
    score_B: Tensor


def model_pixels(image_HW3: NDArray[np.uint8], model: SAM2Base, placed: Placed = "squashed") -> Tensor:
    """(1, 3, S, S) on the model's device.

    squashed: by Pillow's bicubic filter; mean and deviation are bfloat16 numbers, as Sa2VA's family is trained with them.
    padded: the longest side becomes S, by Pillow's bilinear filter; zeros to the right and below.
    """
    size, squashed = inner_size(image_HW3.shape[:2], model, placed), placed == "squashed"
    kernel = Image.Resampling.BICUBIC if squashed else Image.Resampling.BILINEAR
    resized = np.array(Image.fromarray(image_HW3).resize(size[::-1], kernel))
    pixels_3hw = torch.from_numpy(resized).to(model.device).permute(2, 0, 1).contiguous() / 255.0
    dtype = torch.bfloat16 if squashed else torch.float32
    mean_311, std_311 = (
        torch.tensor(values, dtype=dtype, device=model.device).float()[:, None, None] for values in (MEAN, STD)
    )
    margins = (0, model.image_size - size[1], 0, model.image_size - size[0])
    return F.pad((pixels_3hw - mean_311) / std_311, margins)[None].to(model.no_mem_embed.dtype)


def inner_size(size: tuple[int, ...], model: SAM2Base, placed: Placed) -> tuple[int, int]:
    """Height and width of a frame in SAM2's square input; it begins in the upper left corner."""
    side = model.image_size
    if placed == "squashed":
        return side, side
    scale = side / max(size)
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def frame_features(model: SAM2Base, pixels_13SS: Tensor) -> FrameFeatures:
    """Encodes a frame."""
    assert model.directly_add_no_mem_embed and model.use_high_res_features_in_sam
    fpn = model.forward_image(pixels_13SS)["backbone_fpn"]
    return FrameFeatures(fpn[-1] + model.no_mem_embed.view(1, -1, 1, 1), (fpn[-3], fpn[-2]))


def decode(model: SAM2Base, features: FrameFeatures, token_BC: Tensor, object_score: ObjectScore) -> Decoded:
    """The mask of each token in one frame."""
    sparse_BTC, dense_BChw = prompts_of(model, token_BC)
    logits_BMhw, iou_BM, _, score_B1 = model.sam_mask_decoder(
        image_embeddings=features.top_1Chw,
        image_pe=model.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse_BTC,
        dense_prompt_embeddings=dense_BChw,
        multimask_output=True,
        repeat_image=True,
        high_res_features=list(features.fine),
    )
    if object_score == "predicted":
        logits_BMhw = torch.where(score_B1[:, :, None, None] > 0, logits_BMhw, NO_OBJ_SCORE)
    rows_B, best_B = torch.arange(len(iou_BM), device=iou_BM.device), iou_BM.argmax(-1)
    return Decoded(logits_BMhw[rows_B, best_B].float(), iou_BM[rows_B, best_B].float(), score_B1[:, 0].float())


def prompts_of(model: SAM2Base, token_BC: Tensor) -> tuple[Tensor, Tensor]:
    """Sparse (B, 3, C) and dense (B, C, h, w) prompts: nothing but the token."""
    n = len(token_BC)
    points = torch.zeros(n, 1, 2, device=token_BC.device)
    labels = -torch.ones(n, 1, dtype=torch.int32, device=token_BC.device)
    sparse_B2C, dense_BChw = model.sam_prompt_encoder(points=(points, labels), boxes=None, masks=None)
    return torch.cat([sparse_B2C, token_BC[:, None].to(sparse_B2C.dtype)], 1), dense_BChw


def at_frame_size(model: SAM2Base, logits_Bhw: Tensor, size: tuple[int, int], placed: Placed = "squashed") -> Tensor:
    """(B, H, W) float32 logits; by way of the model's own size, as in the published loops."""
    side, (height, width) = (model.image_size, model.image_size), inner_size(size, model, placed)
    square_B1SS = F.interpolate(logits_Bhw[:, None].float(), side, mode="bilinear", align_corners=False)
    inner_B1hw = square_B1SS[..., :height, :width]
    return F.interpolate(inner_B1hw, size, mode="bilinear", align_corners=False)[:, 0]
