"""The SAM2 of a [SEG] checkpoint: the whole of it inside, or its tuned mask decoder alone, in the sam2 package's classes."""

import copy
from typing import TYPE_CHECKING

import torch
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import nn

from stages.prompting.seg.checkpoint.families import Family
from stages.prompting.seg.checkpoint.filling import Component, parameters_on_meta
from stages.prompting.seg.checkpoint.origins import Origin
from stages.tracking.sam2_model import build_sam2

if TYPE_CHECKING:
    from stages.core.config.file import SegModelEntry

DECODER = "sam_mask_decoder"  # in the sam2 package
ATTENTION = "sam_mask_decoder_attention"  # of a checkpoint that holds the decoder's cross-attention alone
GAMMA = ".gamma"  # of the memory encoder's fuser; some publish it by another name, since transformers renames "gamma"
DTYPE = torch.float32  # tracking runs in autocast over float32 weights, as with every other SAM2 here


def whole(family: Family, entry: "SegModelEntry") -> tuple[SAM2VideoPredictor, nn.Module | None, list[Component]]:
    """SAM2, its untouched decoder where the checkpoint has two, and what to fill.

    Args:
        entry: says the config of the SAM2, and the name of the tuned decoder.
    """
    with parameters_on_meta():
        sam2 = build_sam2(entry.sam2, SAM2VideoPredictor)
    untouched = copy.deepcopy(sam2.sam_mask_decoder) if entry.decoder != DECODER else None

    def origin(name: str) -> Origin:
        if name.startswith(f"{DECODER}."):
            name = f"{entry.decoder}{name.removeprefix(DECODER)}"
        if name.endswith(GAMMA):
            name = f"{name.removesuffix(GAMMA)}.{family.gamma}"
        return Origin(family.sam2 + name)

    components = [Component(sam2, origin, DTYPE)]
    if untouched is not None:
        components.append(Component(untouched, lambda name: Origin(f"{family.sam2}{DECODER}.{name}"), DTYPE))
    return sam2, untouched, components


def beside(sam2: SAM2VideoPredictor, entry: "SegModelEntry") -> tuple[nn.Module | None, list[Component]]:
    """For a SAM2 that is beside the checkpoint: its untouched decoder where the checkpoint holds a tuned one, which takes its
    place, and what to fill."""
    if entry.decoder is None:
        return None, []
    untouched = sam2.sam_mask_decoder
    tuned = copy.deepcopy(untouched)
    kept = [name for name in tuned.state_dict() if not is_cross_attention(name)] if entry.decoder == ATTENTION else []
    sam2.sam_mask_decoder = tuned if kept else tuned.to("meta")
    name_of = f"{entry.decoder}."
    return untouched, [Component(sam2.sam_mask_decoder, lambda name: Origin(name_of + name), DTYPE, kept)]


def is_cross_attention(name: str) -> bool:
    """Whether a mask decoder's tensor is of its attention between tokens and image."""
    return any(part in name for part in (".cross_attn_", ".final_attn_"))
