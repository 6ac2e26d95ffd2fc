"""The tensors of a GroundingDINO checkpoint, by the names of its two layouts.

`package`: the authors' .pth files and groundingdino-py. `transformers`: the files of the hub, which
save_pretrained of every transformers version writes (names inside its modules change, these do not).

Attention projections are one tensor in the package, [query; key; value] by rows, and three in transformers.
The box head is shared by all decoder layers: transformers stores it once, the package under every layer.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Layout = Literal["package", "transformers"]
State = Mapping[str, "torch.Tensor"]

# A tensor that every checkpoint of a layout has, and none of the other.
MARKS: Mapping[Layout, str] = {"package": "transformer.level_embed", "transformers": "model.level_embed"}

# What a checkpoint may hold beyond the detector, as regular expressions of whole names:
IGNORED = (
    r".*\.relative_position_index",  # computed from the window size
    r"(bert|model\.text_backbone)\.embeddings\.position_ids",  # 0, 1, 2, …
    r"(bert|model\.text_backbone)\.pooler\.dense\.(weight|bias)",  # of BERT; the detector reads its token states only
    r"label_enc\.weight",  # denoising labels of training
    r"model\.backbone\.conv_encoder\.model\.(swin\.)?layernorm\.(weight|bias)",  # of Swin; its stages have their own
)

BLOCK = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense"}
BLOCK |= {"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
DEFORMABLE = [f"self_attn.{part}" for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")]
ENCODER = {name: f"deformable_layer.{name}" for name in DEFORMABLE}
ENCODER |= {"norm1": "deformable_layer.self_attn_layer_norm", "norm2": "deformable_layer.final_layer_norm"}
ENCODER |= {"linear1": "deformable_layer.fc1", "linear2": "deformable_layer.fc2"}
TEXT_ENHANCER = {"self_attn.out_proj": "self_attn.out_proj", "linear1": "fc1", "linear2": "fc2"}
TEXT_ENHANCER |= {"norm1": "layer_norm_before", "norm2": "layer_norm_after"}
FUSION = {"layer_norm_v": "layer_norm_vision", "layer_norm_l": "layer_norm_text"}
FUSION |= {"attn.v_proj": "attn.vision_proj", "attn.l_proj": "attn.text_proj"}
FUSION |= {"attn.values_v_proj": "attn.values_vision_proj", "attn.values_l_proj": "attn.values_text_proj"}
FUSION |= {"attn.out_v_proj": "attn.out_vision_proj", "attn.out_l_proj": "attn.out_text_proj"}
DECODER = {name.replace("self", "cross"): name.replace("self", "encoder") for name in DEFORMABLE}
DECODER |= {"ca_text.out_proj": "encoder_attn_text.out_proj", "self_attn.out_proj": "self_attn.out_proj"}
DECODER |= {"norm1": "encoder_attn_layer_norm", "catext_norm": "encoder_attn_text_layer_norm"}
DECODER |= {"norm2": "self_attn_layer_norm", "norm3": "final_layer_norm", "linear1": "fc1", "linear2": "fc2"}
BERT_LAYER = [f"attention.self.{part}" for part in ("query", "key", "value")]
BERT_LAYER += ["attention.output.dense", "attention.output.LayerNorm"]
BERT_LAYER += ["intermediate.dense", "output.dense", "output.LayerNorm"]


def names_of(config: Any) -> dict[str, tuple[str, ...]]:
    """Package name → transformers name, or the names of its three parts, for a GroundingDinoConfig.

    The copies of shared box heads (`copies_of`) and what is IGNORED are left out.
    """
    names: dict[str, tuple[str, ...]] = {"transformer.level_embed": ("model.level_embed",)}
    names["transformer.tgt_embed.weight"] = ("model.query_position_embeddings.weight",)
    for package, others in (*_image(config), *_text(config), *_encoder(config), *_decoder(config), *_heads(config)):
        names[package] = others
    return names


def copies_of(config: Any) -> dict[str, str]:
    """Name of a copy → name of the tensor it copies; of both layouts."""
    layers = range(config.decoder_layers)
    copies: dict[str, str] = {}
    for layer in layers:
        source = 0 if config.decoder_bbox_embed_share else layer
        for tail in _mlp(3):
            head = f"bbox_embed.{source}.{tail}"
            copies[f"transformer.decoder.bbox_embed.{layer}.{tail}"] = head
            copies[f"model.decoder.bbox_embed.{layer}.{tail}"] = head
            if layer != source:
                copies[f"bbox_embed.{layer}.{tail}"] = head
    return copies


def is_ignored(name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in IGNORED)


def _image(config: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    ours, theirs = "backbone.0", "model.backbone.conv_encoder.model"
    yield from _both(f"{ours}.patch_embed.proj", f"{theirs}.embeddings.patch_embeddings.projection")
    yield from _both(f"{ours}.patch_embed.norm", f"{theirs}.embeddings.norm")
    depths = config.backbone_config.depths
    for stage, depth in enumerate(depths):
        for block in range(depth):
            where = f"layers.{stage}.blocks.{block}"
            yield from _table(BLOCK, f"{ours}.{where}", f"{theirs}.encoder.{where}")
            yield from _parts(f"{ours}.{where}.attn.qkv.", f"{theirs}.encoder.{where}.attention.self")
            bias = "relative_position_bias_table"
            yield f"{ours}.{where}.attn.{bias}", (f"{theirs}.encoder.{where}.attention.self.{bias}",)
        if stage < len(depths) - 1:
            where = f"layers.{stage}.downsample"
            yield from _both(f"{ours}.{where}.norm", f"{theirs}.encoder.{where}.norm")
            yield f"{ours}.{where}.reduction.weight", (f"{theirs}.encoder.{where}.reduction.weight",)
    for stage in config.backbone_config.out_indices:
        yield from _both(f"{ours}.norm{stage - 1}", f"{theirs}.hidden_states_norms.stage{stage}")
    for level in range(config.num_feature_levels):
        for part in (0, 1):
            yield from _both(f"input_proj.{level}.{part}", f"model.input_proj_vision.{level}.{part}")


def _text(config: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    ours, theirs = "bert", "model.text_backbone"
    for table in ("word", "position", "token_type"):
        name = f"embeddings.{table}_embeddings.weight"
        yield f"{ours}.{name}", (f"{theirs}.{name}",)
    yield from _both(f"{ours}.embeddings.LayerNorm", f"{theirs}.embeddings.LayerNorm")
    for layer in range(config.text_config.num_hidden_layers):
        for name in BERT_LAYER:
            yield from _both(f"{ours}.encoder.layer.{layer}.{name}", f"{theirs}.encoder.layer.{layer}.{name}")
    yield from _both("feat_map", "model.text_projection")


def _encoder(config: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    for layer in range(config.encoder_layers):
        theirs = f"model.encoder.layers.{layer}"
        yield from _table(ENCODER, f"transformer.encoder.layers.{layer}", theirs)
        text, text_theirs = f"transformer.encoder.text_layers.{layer}", f"{theirs}.text_enhancer_layer"
        yield from _table(TEXT_ENHANCER, text, text_theirs)
        yield from _parts(f"{text}.self_attn.in_proj_", f"{text_theirs}.self_attn")
        fusion, fusion_theirs = f"transformer.encoder.fusion_layers.{layer}", f"{theirs}.fusion_layer"
        yield from _table(FUSION, fusion, fusion_theirs)
        yield f"{fusion}.gamma_v", (f"{fusion_theirs}.vision_param",)
        yield f"{fusion}.gamma_l", (f"{fusion_theirs}.text_param",)


def _decoder(config: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    for layer in range(config.decoder_layers):
        ours, theirs = f"transformer.decoder.layers.{layer}", f"model.decoder.layers.{layer}"
        yield from _table(DECODER, ours, theirs)
        yield from _parts(f"{ours}.self_attn.in_proj_", f"{theirs}.self_attn")
        yield from _parts(f"{ours}.ca_text.in_proj_", f"{theirs}.encoder_attn_text")
    yield from _both("transformer.decoder.norm", "model.decoder.layer_norm")
    for tail in _mlp(2):
        yield f"transformer.decoder.ref_point_head.{tail}", (f"model.decoder.reference_points_head.{tail}",)


def _heads(config: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in ("enc_output", "enc_output_norm"):
        yield from _both(f"transformer.{name}", f"model.{name}")
    for tail in _mlp(3):
        yield f"transformer.enc_out_bbox_embed.{tail}", (f"model.encoder_output_bbox_embed.{tail}",)
        for layer in range(1 if config.decoder_bbox_embed_share else config.decoder_layers):
            yield f"bbox_embed.{layer}.{tail}", (f"bbox_embed.{layer}.{tail}",)


def _both(package: str, other: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for kind in ("weight", "bias"):
        yield f"{package}.{kind}", (f"{other}.{kind}",)


def _table(table: Mapping[str, str], package: str, other: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for mine, theirs in table.items():
        yield from _both(f"{package}.{mine}", f"{other}.{theirs}")


def _parts(package: str, other: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for kind in ("weight", "bias"):
        yield package + kind, tuple(f"{other}.{part}.{kind}" for part in ("query", "key", "value"))


def _mlp(layers: int) -> Sequence[str]:
    return [f"layers.{layer}.{kind}" for layer in range(layers) for kind in ("weight", "bias")]
