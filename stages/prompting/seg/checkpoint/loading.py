"""Loads a published [SEG] checkpoint into native classes: no remote code, every tensor exactly once."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from stages.core.config.section import Precision
from stages.core.state.weights import Weights
from stages.prompting.seg.checkpoint.config import check_kind, read_config
from stages.prompting.seg.checkpoint.families import FAMILIES, Family, Native, Opened
from stages.prompting.seg.checkpoint.filling import Component, fill, parameters_on_meta
from stages.prompting.seg.checkpoint.model import SegModel
from stages.prompting.seg.checkpoint.origins import Origin
from stages.prompting.seg.checkpoint.reading import Reading
from stages.prompting.seg.checkpoint.shards import open_shards
from stages.prompting.seg.checkpoint.tokens import load_tokenizer

if TYPE_CHECKING:
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    from stages.core.config.file import SegModelEntry

log = logging.getLogger(__name__)


def load_seg_model(
    folder: Path, entry: "SegModelEntry", device: str, precision: Precision, sam2: Weights | None = None
) -> SegModel:
    """A [SEG] model in evaluation mode on its device, without gradients until its parameters are told to have them.

    Args:
        folder: config.json, weights (safetensors, or torch files without code) and tokenizer, as published.
        entry: of the config: family, SAM2's config, the tuned decoder's name, which state is read, the object score.
        precision: of the MLLM and its head; SAM2 stays in float32.
        sam2: of the preset, for families whose checkpoints do not hold one.

    Raises:
        ValueError: the checkpoint is damaged, partial, of another family, or asks for what is not supported; the message
            names the file, the tensor or key, what was expected, and the fix.
    """
    family = FAMILIES[entry.family]
    raw = read_config(folder)
    check_kind(raw, family, folder)
    tokenizer = load_tokenizer(folder)
    shards = open_shards(folder)
    native = family.build(Opened(folder, raw, shards.shapes, tokenizer), entry.template)
    model, components = assemble(family, entry, native, getattr(torch, precision), _beside(family, sam2, device))
    fill(components, shards, family.ignored, f"a {family.name} with {entry.sam2} and decoder {entry.decoder}")
    if native.tied:
        model.mllm.tie_weights()
    log.info("%s: %d tensors of family %s", folder, len(shards.shapes), family.name)
    return model.eval().requires_grad_(False).to(device)


def assemble(
    family: Family, entry: "SegModelEntry", native: Native, dtype: torch.dtype, sam2: "SAM2VideoPredictor | None"
) -> tuple[SegModel, list[Component]]:
    """The model, and what of it to fill with tensors; its parameters are on the meta device.

    Args:
        sam2: one that is beside the checkpoint.
    """
    from stages.prompting.seg.checkpoint.sam2_inside import beside, whole

    if sam2 is None:
        sam2, untouched, parts = whole(family, entry)
    else:
        untouched, parts = beside(sam2, entry)
    with parameters_on_meta():
        heads = text_hidden_fcs(native.side.embeddings.weight.shape[1], sam2.hidden_dim)
    reading = Reading.of(native.side.tokenizer, entry.state, family.shift)
    model = SegModel(native.side, heads, sam2, untouched, reading, entry.object_score)
    mllm = Component(native.side.mllm, native.origin, dtype, native.tied)
    return model, [mllm, Component(heads, lambda name: Origin(family.heads + name), dtype), *parts]


def text_hidden_fcs(width: int, prompt_width: int) -> nn.Sequential:
    """States of the language model → prompts of SAM2."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, prompt_width))


def _beside(family: Family, weights: Weights | None, device: str) -> "SAM2VideoPredictor | None":
    """The preset's SAM2, where the family's checkpoints hold none."""
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    from stages.tracking.sam2_model import load_sam2

    if family.sam2:
        return None
    if weights is None:
        raise ValueError(f"family {family.name} holds no SAM2: the preset needs a model of role sam2 beside it")
    return load_sam2(weights, device, SAM2VideoPredictor)
