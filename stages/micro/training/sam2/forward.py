"""The training-side forward pass of SAM2Base: prompted images, and videos frame by frame.

It calls the parts of the model in the order of inference and differs in three points: all four mask tokens
give masks that are trained; masks of absent objects keep their logits (inference puts −1024 there, which would
stop every gradient); and for some objects, chosen by the batch, a true mask goes into the memory.

Legend: B images, O objects, T frames, C = 256, M = 4 masks (the single one, then three), S = 128, s = 32.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from sam2.modeling.sam2_base import NO_OBJ_SCORE, SAM2Base
from torch.nn import functional

from stages.micro.training.sam2.batches import PromptGroup, VideoBatch

MEMORY_FRAMES = 16  # pointers are placed in time relative to min(frames, 16): always as in long videos
Points = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Features:
    """Image features by level (stride 4, 8, 16), each (h·w, B, C); position encodings only of the last level."""

    levels: list[torch.Tensor]
    places: list[torch.Tensor]
    sizes: list[tuple[int, int]]

    def of(self, image_O: torch.Tensor) -> "Features":
        """Those of chosen images, one per object."""
        return Features([x[:, image_O] for x in self.levels], [x[:, image_O] for x in self.places], self.sizes)

    def map(self, level: int) -> torch.Tensor:
        """(B, C, h, w)."""
        level_hwBC = self.levels[level]
        return level_hwBC.permute(1, 2, 0).unflatten(2, self.sizes[level])


@dataclass(frozen=True)
class Decoded:
    """The mask decoder's output for O prompts in one frame; `chosen_O` indexes the mask that inference takes."""

    logits_OMss: torch.Tensor
    iou_OM: torch.Tensor
    score_O1: torch.Tensor
    pointer_OC: torch.Tensor
    chosen_O: torch.Tensor


def encode(model: SAM2Base, images_B3SS: torch.Tensor) -> Features:
    """What `forward_image` gives, in less time: fine levels are never widened to C channels and narrowed again."""
    encoder, decoder = model.image_encoder, model.sam_mask_decoder
    trunk_maps = encoder.trunk(images_B3SS)[: len(encoder.neck.convs)]
    fine = enumerate((decoder.conv_s0, decoder.conv_s1))
    maps = [_neck(encoder.neck, trunk_maps, level, conv) + conv.bias[:, None, None] for level, conv in fine]
    maps.append(_neck(encoder.neck, trunk_maps, len(trunk_maps) - 1 - encoder.scalp, None))
    places_B = encoder.neck.position_encoding(maps[-1])
    flat = [map_BChw.flatten(2).permute(2, 0, 1) for map_BChw in (*maps, places_B)]
    return Features(flat[:-1], flat[-1:], [(m.shape[2], m.shape[3]) for m in maps])


def _neck(neck: Any, trunk_maps: list[torch.Tensor], level: int, then: Any | None) -> torch.Tensor:
    """Level `level` of the feature pyramid, merged with the 1 × 1 convolution `then`: both are linear."""
    lateral = neck.convs[len(neck.convs) - 1 - level].conv
    weight, bias = lateral.weight, lateral.bias
    if then is not None:
        with torch.autocast(weight.device.type, enabled=False):
            weight, bias = (then.weight[:, :, 0, 0] @ part.flatten(1) for part in (weight, bias[:, None]))
        weight, bias = weight[..., None, None], bias[:, 0]
    map_BChw = functional.conv2d(trunk_maps[level], weight, bias)
    if level in neck.fpn_top_down_levels and level + 1 < len(trunk_maps):
        above = _neck(neck, trunk_maps, level + 1, then)
        map_BChw = map_BChw + functional.interpolate(above.float(), scale_factor=2.0, mode="nearest")
    return map_BChw


def find(model: SAM2Base, features: Features, group: PromptGroup) -> Decoded:
    """The mask decoder's output for prompts on images."""
    here = features.of(group.targets.image_O)
    if group.points_OP2 is None or group.labels_OP is None:
        return mask_prompt(model, here, group.targets.masks_TOSS[0])
    token_map = (here.levels[-1] + model.no_mem_embed).permute(1, 2, 0).unflatten(2, here.sizes[-1])
    several = group.points_OP2.shape[1] == 1  # a box, two points, is not ambiguous
    return _decode(model, token_map, here, (group.points_OP2, group.labels_OP), None, several)


def mask_prompt(model: SAM2Base, here: Features, masks_OSS: torch.Tensor) -> Decoded:
    """The mask decoder's output for given masks; inference keeps only the pointer."""
    mask_O1ss = model.mask_downsample(masks_OSS[:, None].float())
    return _decode(model, here.map(-1), here, _no_points(len(masks_OSS)), mask_O1ss, False)


def follow(model: SAM2Base, features: Features, batch: VideoBatch) -> list[Decoded]:
    """Tracks every object from its mask in frame 0. `features` are those of all T·B images, frame by frame."""
    masks_TOSS, image_O = batch.targets.masks_TOSS, batch.targets.image_O
    n_videos = batch.images_TB3SS.shape[1]
    outputs: dict[str, dict[int, dict[str, Any]]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    decoded_T: list[Decoded] = []
    for t, masks_OSS in enumerate(masks_TOSS):
        here = features.of(image_O + t * n_videos)
        if t == 0:
            decoded = mask_prompt(model, here, masks_OSS)
        else:
            decoded = _decode(model, _remember(model, here, outputs, t), here, _no_points(len(image_O)), None, True)
        teach_O = batch.teach_TO[t] if t else torch.ones_like(batch.teach_TO[0])
        kind = "non_cond_frame_outputs" if t else "cond_frame_outputs"
        outputs[kind][t] = _memorise(model, here, decoded, masks_OSS, teach_O)
        decoded_T.append(decoded)
    return decoded_T


def _remember(model: SAM2Base, here: Features, outputs: Mapping[str, Any], t: int) -> torch.Tensor:
    return model._prepare_memory_conditioned_features(
        frame_idx=t,
        is_init_cond_frame=False,
        current_vision_feats=here.levels[-1:],
        current_vision_pos_embeds=here.places[-1:],
        feat_sizes=here.sizes[-1:],
        output_dict=outputs,
        num_frames=MEMORY_FRAMES,
    )


def _memorise(
    model: SAM2Base, here: Features, decoded: Decoded, masks_OSS: torch.Tensor, teach_O: torch.Tensor
) -> dict[str, Any]:
    """The frame's memory, from true masks where `teach_O` says so. No gradient flows back through masks."""
    true_O1 = masks_OSS.flatten(1).any(1, keepdim=True)
    present_O1 = torch.where(teach_O[:, None], true_O1, decoded.score_O1 > 0)
    own_O1ss = decoded.logits_OMss.detach().float()[torch.arange(len(teach_O)), decoded.chosen_O][:, None]
    own_O1ss = torch.where(present_O1[..., None, None], own_O1ss, NO_OBJ_SCORE)
    own_O1SS = functional.interpolate(own_O1ss, size=masks_OSS.shape[-2:], mode="bilinear", align_corners=False)
    taught_O1SS = torch.where(masks_OSS[:, None], 10.0, -10.0)
    logits_O1SS = torch.where(teach_O[:, None, None, None], taught_O1SS, own_O1SS)
    memory, places = model._encode_new_memory(
        here.levels, here.sizes, logits_O1SS, present_O1.float() * 20 - 10, is_mask_from_pts=False
    )
    pointer_OC = torch.where(present_O1, decoded.pointer_OC, model.no_obj_ptr.to(decoded.pointer_OC.dtype))
    return {"maskmem_features": memory, "maskmem_pos_enc": places, "obj_ptr": pointer_OC}


def _decode(
    model: SAM2Base,
    token_map_OChw: torch.Tensor,
    here: Features,
    points: Points,
    mask_O1ss: torch.Tensor | None,
    several: bool,
) -> Decoded:
    sparse, dense = model.sam_prompt_encoder(points=points, boxes=None, masks=mask_O1ss)
    logits_OMss, iou_OM, tokens_OMC, score_O1 = model.sam_mask_decoder.predict_masks(
        image_embeddings=token_map_OChw,
        image_pe=model.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        repeat_image=False,
        high_res_features=[here.map(0), here.map(1)],
    )
    chosen_O = 1 + iou_OM[:, 1:].argmax(1) if several else torch.zeros(len(iou_OM), dtype=torch.long)
    pointer_OC = model.obj_ptr_proj(tokens_OMC[torch.arange(len(chosen_O)), chosen_O])
    return Decoded(logits_OMss, iou_OM, score_O1, pointer_OC, chosen_O)


def _no_points(n: int) -> Points:
    return torch.zeros(n, 1, 2), -torch.ones(n, 1, dtype=torch.int32)
