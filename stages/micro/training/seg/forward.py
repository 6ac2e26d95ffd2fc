"""Many videos at once, each with several requests: frames and sentences → [SEG] states → masks.

What `SegModel` computes video by video, sentence by sentence; its images are of one size, and its processor's arithmetic is
written out, so that nothing is copied to the host and back.

Legend: V videos, I images of each, P patches of an image, J = I · cells image tokens of a video, A tokens of its images with those
around them, S requests of a video, R = V · S, L tokens of a request, its images and the answer, D the MLLM's width,
C = 256, F frames, M decoded masks, h × w logits.
"""

from dataclasses import dataclass
from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor
from torch.nn import functional

from stages.micro.mllm import MERGE, SEG
from stages.micro.training.sam2.forward import encode
from stages.prompting.seg.decoding import prompts_of
from stages.tracking.model_frames import MEAN, STD

NAME = "frames"  # of the vision tower's attention, in transformers' table


@dataclass(frozen=True)
class Read:
    """
    Attributes:
        vision_VJD: image tokens as the vision tower gives them.
        image_RJD: states of image tokens, after the last norm.
        state_RLD: states of all tokens, after the last norm.
    """

    vision_VJD: Tensor
    image_RJD: Tensor
    state_RLD: Tensor


@dataclass(frozen=True)
class Masks:
    """Logits of the chosen masks, their predicted IoU, and object scores."""

    logits_Mhw: Tensor
    iou_M: Tensor
    score_M: Tensor


def register() -> None:
    """Makes `attend` known to transformers under NAME."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention within each image, (1, H, images · P, D) each → (1, images · P, H, D); transformers' own takes one by one."""
    h, d = query.shape[1], query.shape[3]
    q, k, v = (x[0].view(h, -1, module.config.patches, d).transpose(0, 1) for x in (query, key, value))
    out_IHPD = functional.scaled_dot_product_attention(q, k, v, scale=scaling)
    return out_IHPD.transpose(1, 2).reshape(1, -1, h, d), None


def patches_of(images_IHW3: Tensor) -> Tensor:
    """(I · P, 3 · patch²) float32 −1 … 1, in the order of Qwen's processor: MERGE × MERGE patches side by side."""
    i, height, width = images_IHW3.shape[:3]
    side = SEG.patch
    rows, columns = height // (side * MERGE), width // (side * MERGE)
    cut = images_IHW3.view(i, rows, MERGE, side, columns, MERGE, side, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
    return cut.reshape(-1, 3 * side * side).float() / 127.5 - 1


def grids_of(images: int, height: int, width: int) -> Tensor:
    """(images, 3) patches in time, height and width, on the host."""
    return torch.tensor([[1, height // SEG.patch, width // SEG.patch]]).repeat(images, 1)


def features_of(mllm: Any, images_IHW3: Tensor) -> Tensor:
    """(I, cells, D) image tokens of frames of one size."""
    i, height, width = images_IHW3.shape[:3]
    visual, device = mllm.model.visual, images_IHW3.device
    grids_I3 = grids_of(i, height, width)
    visual.config.patches = int(grids_I3[0].prod())
    places = _places(visual, grids_I3)
    whole = torch.tensor([0, int(grids_I3.prod(1).sum())], dtype=torch.int32)  # one sequence, which `attend` divides
    moved = {name: x.to(device) for name, x in places.items()}
    features: Tensor = visual(patches_of(images_IHW3), **moved, grid_thw=grids_I3, cu_seqlens=whole).pooler_output
    return features.view(i, -1, features.shape[-1])


def _places(visual: Any, grids_I3: Tensor) -> dict[str, Tensor]:
    """What the tower computes from the sizes of its images, on the host: it would wait for a GPU once per image."""
    from transformers import vision_utils

    merge = visual.config.spatial_merge_size
    indices, weights = vision_utils.get_vision_interpolation_indices_and_weights(
        grids_I3, visual.num_grid_per_side, visual.interpolation_mode, visual.interpolation_align_corners, merge
    )
    positions = vision_utils.get_vision_position_ids(grids_I3, merge)
    return {"interp_indices": indices, "interp_weights": weights, "position_ids": positions}


def images_in_words(images: int, height: int, width: int) -> str:
    """What stands for images of one size in a text."""
    pad = "<|image_pad|>" * (height * width // (SEG.patch * MERGE) ** 2)
    return f"<|vision_start|>{pad}<|vision_end|>" * images


class Reader:
    """Requests about videos, through the language model.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, mllm: Any, tokenizer: Any) -> None:
        self.mllm, self.tokenizer = mllm, tokenizer
        self.image_id = mllm.config.image_token_id
        self._offsets: dict[tuple[int, int, int], tuple[Tensor, int]] = {}

    def offsets(self, images: int, height: int, width: int) -> tuple[Tensor, int]:
        """Positions (3, A) of images from where they begin, and the position that follows them."""
        key = (images, height, width)
        if key not in self._offsets:
            ids_1A = torch.tensor([self.tokenizer.encode(images_in_words(*key))])
            positions_31A, _ = self.mllm.model.get_rope_index(
                input_ids=ids_1A,
                mm_token_type_ids=(ids_1A == self.image_id).int(),
                image_grid_thw=grids_of(images, height, width),
            )
            self._offsets[key] = positions_31A[:, 0], int(positions_31A.max()) + 1
        return self._offsets[key]

    def positions(self, begin_R: Tensor, count: int, images: int, height: int, width: int) -> Tensor:
        """(3, R, L) of requests whose images begin at begin_R, which is on the host; what pads them is after all else."""
        offsets_3A, following = self.offsets(images, height, width)
        rows = []
        for begin in begin_R.tolist():
            before_3B = torch.arange(begin).expand(3, -1)
            behind_3C = begin + following + torch.arange(count - begin - offsets_3A.shape[1]).expand(3, -1)
            rows.append(torch.cat([before_3B, begin + offsets_3A, behind_3C], 1))
        return torch.stack(rows, 1).to(self.mllm.device)

    def read(self, images_VIHW3: Tensor, ids_RL: Tensor, begin_R: Tensor) -> Read:
        """
        Args:
            ids_RL: requests, images and answers, padded at the end, S for each video.
            begin_R: where the images begin, on the host.
        """
        v, i, height, width = images_VIHW3.shape[:4]
        features_VJD = features_of(self.mllm, images_VIHW3.flatten(0, 1)).reshape(v, -1, self.mllm.lm_head.in_features)
        features_RJD = features_VJD.repeat_interleave(len(ids_RL) // v, 0)
        decoder = self.mllm.model.language_model
        is_image_RL = ids_RL == self.image_id
        embedded_RLD = decoder.embed_tokens(ids_RL.masked_fill(is_image_RL, 0))
        embedded_RLD = embedded_RLD.masked_scatter(is_image_RL[..., None], features_RJD)
        positions_3RL = self.positions(begin_R, ids_RL.shape[1], i, height, width)
        state_RLD = decoder(inputs_embeds=embedded_RLD, position_ids=positions_3RL, use_cache=False).last_hidden_state
        return Read(features_VJD, state_RLD[is_image_RL].view_as(features_RJD), state_RLD)


def decode_many(sam2: SAM2Base, frames_FQQ3: Tensor, frame_M: Tensor, token_MC: Tensor) -> Masks:
    """A mask of each token in its frame: `decoding.decode` for many frames at once."""
    mean_311, std_311 = (torch.tensor(x, dtype=torch.bfloat16).float()[:, None, None] for x in (MEAN, STD))
    pixels_F3QQ = frames_FQQ3.permute(0, 3, 1, 2) / 255.0
    device = pixels_F3QQ.device
    features = encode(sam2, ((pixels_F3QQ - mean_311.to(device)) / std_311.to(device)).contiguous())
    top_FChw = (features.levels[-1] + sam2.no_mem_embed).permute(1, 2, 0).unflatten(2, features.sizes[-1])
    sparse_MTC, dense_MChw = prompts_of(sam2, token_MC)
    logits_MKhw, iou_MK, _, score_M1 = sam2.sam_mask_decoder(
        image_embeddings=top_FChw[frame_M],
        image_pe=sam2.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse_MTC,
        dense_prompt_embeddings=dense_MChw,
        multimask_output=True,
        repeat_image=False,
        high_res_features=[features.map(level)[frame_M] for level in (0, 1)],
    )
    rows_M, best_M = torch.arange(len(iou_MK), device=device), iou_MK.argmax(-1)
    return Masks(logits_MKhw[rows_M, best_M].float(), iou_MK[rows_M, best_M].float(), score_M1[:, 0].float())
