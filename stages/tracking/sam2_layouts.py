"""The two published layouts of SAM2's tensors: the sam2 package's own, and that of transformers.

The .pt files hold the package's names; model.safetensors of the hub's repositories holds those of
transformers' Sam2VideoModel. Only names differ, and what EXPECTED_DIFFERENCES lists.
"""

import re
from collections.abc import Mapping

from torch import Tensor, equal

POSITIONS = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
POINTS = "sam_prompt_encoder.point_embeddings"
# A tensor that every checkpoint of a layout has, and none of the other.
MARKS = (
    "image_encoder.trunk.patch_embed.proj.weight",
    "vision_encoder.backbone.patch_embed.projection.weight",
)
# transformers' names that have no counterpart of their own in the package, and what becomes of them.
EXPECTED_DIFFERENCES: Mapping[str, str] = {
    "shared_image_embedding.positional_embedding": f"a copy of {POSITIONS}, checked and dropped",
    "prompt_encoder.point_embed.weight": f"its rows are {POINTS}.<row>.weight",
}
# Every pair is applied once, in this order. A multilayer perceptron of transformers goes from proj_in
# over layers.0 … to proj_out; the package numbers all of its layers from 0.
RENAMED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
        (r"^vision_encoder\.neck\.convs\.(\d+)\.", r"image_encoder.neck.convs.\1.conv."),
        (r"^prompt_encoder\.", "sam_prompt_encoder."),
        (r"^mask_decoder\.", "sam_mask_decoder."),
        (r"^shared_image_embedding\.positional_embedding$", POSITIONS),
        (r"\.shared_embedding\.positional_embedding$", ".pe_layer.positional_encoding_gaussian_matrix"),
        (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
        (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
        (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
        (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
        (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
        (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
        (r"\.upscale_conv1\.", ".output_upscaling.0."),
        (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
        (r"\.upscale_conv2\.", ".output_upscaling.3."),
        (r"^object_pointer_proj\.", "obj_ptr_proj."),
        (r"(_mlps\.\d+|_head|^obj_ptr_proj)\.layers\.0\.", r"\1.layers.1."),
        (r"(_mlps\.\d+|_head|^obj_ptr_proj)\.proj_out\.", r"\1.layers.2."),
        (r"\.mlp\.proj_out\.", ".mlp.layers.1."),
        (r"\.proj_in\.", ".layers.0."),
        (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
        (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
        (r"\.mask_downsampler\.final_conv\.", ".mask_downsampler.encoder.12."),
        (r"\.mask_downsampler\.layers\.0\.conv\.", ".mask_downsampler.encoder.0."),
        (r"\.mask_downsampler\.layers\.0\.layer_norm\.", ".mask_downsampler.encoder.1."),
        (r"\.mask_downsampler\.layers\.1\.conv\.", ".mask_downsampler.encoder.3."),
        (r"\.mask_downsampler\.layers\.1\.layer_norm\.", ".mask_downsampler.encoder.4."),
        (r"\.mask_downsampler\.layers\.2\.conv\.", ".mask_downsampler.encoder.6."),
        (r"\.mask_downsampler\.layers\.2\.layer_norm\.", ".mask_downsampler.encoder.7."),
        (r"\.mask_downsampler\.layers\.3\.conv\.", ".mask_downsampler.encoder.9."),
        (r"\.mask_downsampler\.layers\.3\.layer_norm\.", ".mask_downsampler.encoder.10."),
        (r"\.memory_fuser\.", ".fuser."),
        (r"\.scale$", ".gamma"),
        (r"\.depthwise_conv\.", ".dwconv."),
        (r"\.pointwise_conv(\d)\.", r".pwconv\1."),
        (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
        (r"\.layer_norm(\d?)\.", r".norm\1."),
        (r"\.o_proj\.", ".out_proj."),
        (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
        (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
        (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
        (r"^no_memory_embedding$", "no_mem_embed"),
        (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
        (r"^no_object_pointer$", "no_obj_ptr"),
    )
)
# (width, blocks) of the image encoder → its name in the package's configs.
SIZES = {(96, 12): "t", (96, 16): "s", (112, 24): "b+", (144, 48): "l"}


def in_package_layout(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """A checkpoint's tensors under the sam2 package's names, from either layout.

    Args:
        where: names the checkpoint in errors.

    Raises:
        ValueError: transformers' layout without the memory (Sam2Model), or with two position matrices.
    """
    if not is_transformers(state):
        return dict(state)
    if not any(name.startswith("memory_attention.") for name in state):
        raise ValueError(
            f"{where}: holds SAM2's image half alone (saved from transformers' Sam2Model); tracking needs the memory: "
            "take the file that Sam2VideoModel loads, such as model.safetensors of facebook/sam2.1-hiera-tiny"
        )
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for target, part in _parts(name, tensor):
            if target in renamed and not equal(renamed[target], part):
                raise ValueError(f"{where}: {name} differs from its copy; the sam2 package has one {target}")
            renamed[target] = part
    return renamed


def is_transformers(state: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("vision_encoder.") for name in state)


def package_name(name: str) -> str:
    """The sam2 package's name of a tensor that transformers calls `name`."""
    for pattern, replacement in RENAMED:
        name = pattern.sub(replacement, name)
    return name


def likely_config(state: Mapping[str, Tensor]) -> str | None:
    """The package's config that fits a checkpoint (in the package's layout); None = none of them."""
    blocks = {match[1] for name in state if (match := re.match(r"image_encoder\.trunk\.blocks\.(\d+)\.", name))}
    embedding = state.get("image_encoder.trunk.patch_embed.proj.bias")
    size = None if embedding is None else SIZES.get((embedding.numel(), len(blocks)))
    version = "2.1" if "no_obj_embed_spatial" in state else "2"
    return size and f"configs/sam{version}/sam{version}_hiera_{size}.yaml"


def _parts(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    if name == "prompt_encoder.point_embed.weight":
        return [(f"{POINTS}.{row}.weight", tensor[row : row + 1]) for row in range(len(tensor))]
    return [(package_name(name), tensor)]
