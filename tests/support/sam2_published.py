"""SAM2's eight published architectures, as transformers configures them, and checkpoints of them for tests."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from stages.tracking.sam2_model import build_sam2, config_file

CONFIGS = [f"configs/sam{v}/sam{v}_hiera_{size}.yaml" for v in ("2", "2.1") for size in ("t", "s", "b+", "l")]
# What transformers' conversion script sets for each size; the tiny one is the default.
BACKBONES: dict[str, dict[str, Any]] = {
    "t": {},
    "s": {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
    "b+": {
        "hidden_size": 112,
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 3, 16, 3],
        "global_attention_blocks": [12, 16, 20],
        "window_positional_embedding_background_size": [14, 14],
    },
    "l": {
        "hidden_size": 144,
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "global_attention_blocks": [23, 33, 43],
        "window_positional_embedding_background_size": [7, 7],
        "window_size_per_stage": [8, 4, 16, 8],
    },
}


def transformers_config(config: str, side: int = 1024) -> Any:
    """transformers' configuration of a config of the sam2 package, at `side` pixels."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(**BACKBONES[config.rpartition("_")[2].removesuffix(".yaml")], image_size=[side, side])
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=backbone.embed_dim_per_stage[::-1],
        backbone_feature_sizes=[[side // stride] * 2 for stride in (4, 8, 16)],
    )
    newer = "sam2.1" in config
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"image_size": side},
        image_size=side,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
        enable_temporal_pos_encoding_for_object_pointers=newer,
        enable_occlusion_spatial_embedding=newer,
    )


def transformers_model(config: str, side: int, seed: int) -> Any:
    """Sam2VideoModel with random values everywhere, and one position matrix as in every published checkpoint."""
    from transformers import Sam2VideoModel

    model = Sam2VideoModel(transformers_config(config, side)).eval()
    randomise(model, seed)
    shared = model.prompt_encoder.shared_embedding.positional_embedding
    model.shared_image_embedding.positional_embedding.data = shared.data.clone()
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(9.0)  # an absent object has one constant mask
    return model


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    """Initial values hide names that are swapped: norms are all one, embeddings all zero."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        tensor.add_(torch.randn(tensor.shape, generator=generator) / math.sqrt(max(tensor.shape[-1:], default=1) + 9))


def at_side(config: str, side: int, folder: Path) -> str:
    """A published config at another image size: a file in `folder`."""
    raw = OmegaConf.load(config_file(config))
    raw.model.image_size = side
    file = folder / Path(config).name
    OmegaConf.save(raw, file)
    return str(file)


def shapes_only(config: str) -> SAM2Base:
    """A model of the package without values: quick at every size."""
    with _linspace_with_values(), torch.device("meta"):
        return build_sam2(config, SAM2Base)


def cheap_values(config: str) -> dict[str, Tensor]:
    """A state dict with another value in every tensor, each stored once: a few kB for 224 M parameters."""
    wanted = shapes_only(config).state_dict()
    return {name: torch.full((), 0.25 + i).expand(t.shape) for i, (name, t) in enumerate(wanted.items())}


@contextmanager
def _linspace_with_values() -> Iterator[None]:
    """The package reads values of a linspace (the rates of stochastic depth) while it builds."""
    linspace = torch.linspace
    torch.linspace = partial(linspace, device="cpu")  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.linspace = linspace
