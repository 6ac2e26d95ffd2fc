"""The model's own forward, with more queries while training: some start at jittered true boxes and attend to no others.

So every object trains the decoder from the first step on, when proposals are still random (the aim of denoising
in DN-DETR and DINO, arXiv 2203.03605, and of one-to-many matching; here these queries carry no labels).

Legend: B images, Q queries, R queries at true boxes, L decoder layers, W tokens, S cells of all levels, D channels.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from stages.micro.training.grounding_dino.batches import Batch
from stages.prompting.grounding_dino.transformers_backend import published_positions


@dataclass(frozen=True)
class Predictions:
    """The model's output for a batch.

    Attributes:
        logits_LBQW, boxes_LBQ4: of every decoder layer; the last R queries started at true boxes.
        cell_logits_BSW, cell_boxes_BS4: of the encoder's proposals.
        memory_BDhw, image_BChw: features of stride 8 after and before the encoder.
    """

    logits_LBQW: torch.Tensor
    boxes_LBQ4: torch.Tensor
    cell_logits_BSW: torch.Tensor
    cell_boxes_BS4: torch.Tensor
    memory_BDhw: torch.Tensor
    image_BChw: torch.Tensor


def detect(model: Any, batch: Batch) -> Predictions:
    kept: list[torch.Tensor] = []
    swin = model.model.backbone.conv_encoder
    hook = swin.register_forward_hook(lambda module, inputs, maps: kept.append(maps[0][0]))
    try:
        with published_positions(), _more_queries(model, batch):
            core = model.model(
                pixel_values=batch.images_B3HW,
                input_ids=batch.ids_BW,
                attention_mask=batch.mask_BW,
                return_dict=True,
            )
    finally:
        hook.remove()
    n_words = batch.ids_BW.shape[1]
    words_BWD = core.encoder_last_hidden_state_text.float()
    h, w = kept[0].shape[-2:]
    memory_BDhw = core.encoder_last_hidden_state_vision[:, : h * w].transpose(1, 2).unflatten(2, (h, w))
    start_BQ4 = torch.cat([core.init_reference_points[:, : model.config.num_queries], batch.rois_BR4], 1)
    with torch.autocast("cpu", enabled=False):
        logits, boxes = _read(model, core, words_BWD, start_BQ4)
    return Predictions(
        logits,
        boxes,
        core.enc_outputs_class[..., :n_words].float(),
        core.enc_outputs_coord_logits.float().sigmoid(),
        memory_BDhw,
        kept[0],
    )


def _read(model: Any, core: Any, words_BWD: torch.Tensor, start_BQ4: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As GroundingDinoForObjectDetection reads its decoder, for all layers and without padding."""
    logits, boxes = [], []
    before_BQ4 = start_BQ4
    for layer, hidden_BQD in enumerate(core.intermediate_hidden_states.float().unbind(1)):
        logits.append(hidden_BQD @ words_BWD.transpose(1, 2))
        moved_BQ4 = model.bbox_embed[layer](hidden_BQD)
        boxes.append((moved_BQ4 + torch.special.logit(before_BQ4.float(), eps=1e-5)).sigmoid())
        before_BQ4 = core.intermediate_reference_points[:, layer]
    return torch.stack(logits), torch.stack(boxes)


@contextmanager
def _more_queries(model: Any, batch: Batch) -> Iterator[None]:
    """While it is open, the decoder gets R more queries."""
    decoder = model.model.decoder
    n_own, n_rois = model.config.num_queries, batch.rois_BR4.shape[1]
    hidden_Q = torch.block_diag(torch.ones(n_own, n_own), torch.eye(n_rois)) == 0
    mask_QQ = torch.zeros(hidden_Q.shape).masked_fill(hidden_Q, -1e4)

    def add(_: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        own_BQD = named["inputs_embeds"]
        order_R = (batch.roi_of_BR[0, 0] + torch.arange(n_rois)) % n_own
        rois_BRD = model.model.query_position_embeddings.weight[order_R].expand(len(own_BQD), -1, -1)
        return inputs, {
            **named,
            "inputs_embeds": torch.cat([own_BQD, rois_BRD.to(own_BQD.dtype)], 1),
            "reference_points": torch.cat([named["reference_points"], batch.rois_BR4], 1),
            "self_attn_mask": mask_QQ,
        }

    config = decoder.config
    hook = decoder.register_forward_pre_hook(add, with_kwargs=True)
    decoder.config = copy.copy(config)
    decoder.config.num_queries = n_own + n_rois  # it repeats the text mask this many times
    try:
        yield
    finally:
        decoder.config = config
        hook.remove()
