"""The package's (groundingdino-py's) image backbone and transformer for a transformers GroundingDinoConfig.

The package reads its architecture from Python files, two sizes of it, which are never executed here.
"""

from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# What the package's code cannot change; the order matters: a part's model_type is checked before the rest of it.
NEEDED: Mapping[str, Any] = {
    "d_model": 256,
    "max_text_len": 256,
    "query_dim": 4,
    "two_stage": True,
    "two_stage_bbox_embed_share": False,
    "embedding_init_target": True,
    "activation_function": "relu",
    "position_embedding_type": "sine",
    "layer_norm_eps": 1e-5,
    "text_config.model_type": "bert",
    "backbone_config.model_type": "swin",
    "backbone_config.hidden_act": "gelu",
    "backbone_config.layer_norm_eps": 1e-5,
    "backbone_config.use_absolute_embeddings": False,
}


def check_architecture(config: Any, folder: Path) -> None:
    """Raises ValueError, which names `folder`, where the config asks for what the package's code cannot do."""
    wanted = {
        **NEEDED,
        "decoder_ffn_dim": config.encoder_ffn_dim,
        "decoder_attention_heads": config.encoder_attention_heads,
    }
    for name, needed in wanted.items():
        value = attrgetter(name)(config)
        if value != needed:
            raise ValueError(
                f"{folder}: config.json says {name} {value!r}; groundingdino-py runs {needed!r} only: "
                "set prompts.gdino.backend to 'transformers'"
            )


def build_transformer(config: Any) -> Any:
    """Encoder and decoder, untrained."""
    from groundingdino.models.GroundingDINO.transformer import build_transformer as build

    return build(_arguments(config))


def build_image_backbone(config: Any) -> Any:
    """Swin and its sine positions, untrained, as the package joins them."""
    from groundingdino.models.GroundingDINO.backbone.backbone import Joiner
    from groundingdino.models.GroundingDINO.backbone.position_encoding import build_position_encoding
    from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer

    swin = config.backbone_config
    stages = tuple(stage - 1 for stage in swin.out_indices)  # transformers counts the patches as stage 0
    body = SwinTransformer(
        pretrain_img_size=swin.image_size,
        patch_size=swin.patch_size,
        in_chans=swin.num_channels,
        embed_dim=swin.embed_dim,
        depths=list(swin.depths),
        num_heads=list(swin.num_heads),
        window_size=swin.window_size,
        mlp_ratio=swin.mlp_ratio,
        qkv_bias=swin.qkv_bias,
        drop_path_rate=0.0,
        out_indices=stages,
    )
    backbone = Joiner(body, build_position_encoding(_arguments(config)))
    backbone.num_channels = [body.num_features[stage] for stage in stages]
    return backbone


def _arguments(config: Any) -> SimpleNamespace:
    """What the package's builders read."""
    return SimpleNamespace(
        hidden_dim=config.d_model,
        position_embedding="sine",
        pe_temperatureH=config.positional_embedding_temperature,
        pe_temperatureW=config.positional_embedding_temperature,
        dropout=0.0,
        nheads=config.encoder_attention_heads,
        num_queries=config.num_queries,
        dim_feedforward=config.encoder_ffn_dim,
        enc_layers=config.encoder_layers,
        dec_layers=config.decoder_layers,
        pre_norm=False,
        query_dim=config.query_dim,
        transformer_activation=config.activation_function,
        num_patterns=0,
        num_feature_levels=config.num_feature_levels,
        enc_n_points=config.encoder_n_points,
        dec_n_points=config.decoder_n_points,
        two_stage_type="standard",
        embed_init_tgt=True,
        use_text_enhancer=True,
        use_fusion_layer=True,
        use_checkpoint=False,  # both trade time for memory in training
        use_transformer_ckpt=False,
        use_text_cross_attention=True,
        text_dropout=0.0,
        fusion_dropout=0.0,
        fusion_droppath=0.0,
    )
