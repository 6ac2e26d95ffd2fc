"""A tiny SAM3 with random weights, as the hub has it: no trained one is small enough to be here, so what it finds means nothing."""

from pathlib import Path
from typing import Any

import torch
from support.tiny_models import seeded

from stages.micro.tokenizer import numbered

SIDE, PATCH, WIDTH, CHANNELS = 112, 14, 128, 128
TOKENS = 32  # of a phrase, as SAM3 pads it


def build_sam3(folder: Path, seed: int = 0) -> Path:
    """Sam3VideoModel, the detector in it, with Sam3VideoProcessor. Marked as random in its config.json."""
    from transformers import Sam3VideoConfig, Sam3VideoModel

    tokenizer = _tokenizer()
    vision = _vision()
    config = Sam3VideoConfig(
        detector_config=_detector(vision, len(tokenizer)),
        tracker_config=_tracker(vision),
        low_res_mask_size=4 * SIDE // PATCH,
        hotstart_delay=4,  # random tracks soon prove wrong: some of them live on
        hotstart_unmatch_thresh=3,
        hotstart_dup_thresh=3,
        assoc_iou_thresh=0.9,
        trk_assoc_iou_thresh=0.1,
        random_weights=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = seeded(lambda: Sam3VideoModel(config))
        _spread(model)
    model.save_pretrained(folder)
    _processor(tokenizer).save_pretrained(folder)
    return folder


def _spread(model: Any) -> None:
    """Scores that differ between queries, frames and phrases, about half of them above a half, and masks of some size."""
    with torch.no_grad():
        for name, weight in model.detector_model.named_parameters():
            if weight.dim() > 1 and not name.startswith("vision_encoder.backbone.embeddings"):
                weight.mul_(4)


def _vision() -> dict[str, Any]:
    grid = SIDE // PATCH
    return {
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": SIDE,
            "patch_size": PATCH,
            "window_size": grid // 2,
            "global_attn_indexes": [1],
            "pretrain_image_size": SIDE,
        },
        "fpn_hidden_size": CHANNELS,
        "backbone_feature_sizes": [[4 * grid] * 2, [2 * grid] * 2, [grid] * 2],
    }


def _detector(vision: dict[str, Any], vocabulary: int) -> dict[str, Any]:
    small = {"hidden_size": CHANNELS, "num_layers": 1, "num_attention_heads": 4, "intermediate_size": 2 * CHANNELS}
    text = {
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": CHANNELS,
        "intermediate_size": 2 * CHANNELS,
        "projection_dim": CHANNELS,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": TOKENS,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }
    return {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": text,
        "geometry_encoder_config": small,
        "detr_encoder_config": small,
        "detr_decoder_config": {**small, "num_queries": 20},
        "mask_decoder_config": {"hidden_size": CHANNELS, "num_attention_heads": 4},
    }


def _tracker(vision: dict[str, Any]) -> dict[str, Any]:
    grid = SIDE // PATCH
    return {
        "model_type": "sam3_tracker_video",
        "vision_config": vision,
        "image_size": SIDE,
        "memory_attention_hidden_size": CHANNELS,
        "memory_attention_feed_forward_hidden_size": 2 * CHANNELS,
        "memory_attention_num_layers": 1,
        "memory_attention_rope_feat_sizes": [grid, grid],
        "memory_encoder_hidden_size": CHANNELS,
        "memory_encoder_output_channels": CHANNELS // 2,
        "mask_downsampler_embed_dim": CHANNELS,
        "memory_fuser_embed_dim": CHANNELS,
        "memory_fuser_intermediate_dim": 2 * CHANNELS,
        "mask_decoder_config": {
            "hidden_size": CHANNELS,
            "num_attention_heads": 4,
            "mlp_dim": 2 * CHANNELS,
            "iou_head_hidden_dim": CHANNELS,
        },
        "prompt_encoder_config": {"hidden_size": CHANNELS, "image_size": SIDE, "patch_size": PATCH},
    }


def _tokenizer() -> Any:
    from transformers import CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz-'"
    vocabulary = numbered([*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"])
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=TOKENS)


def _processor(tokenizer: Any) -> Any:
    from transformers import Sam2VideoVideoProcessor, Sam3ImageProcessor, Sam3VideoProcessor

    side = {"height": SIDE, "width": SIDE}
    low = {"height": 4 * SIDE // PATCH, "width": 4 * SIDE // PATCH}
    shown = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    images = Sam3ImageProcessor(size=dict(side), mask_size=low, **shown)
    videos = Sam2VideoVideoProcessor(size=dict(side), **shown)
    return Sam3VideoProcessor(images, videos, tokenizer)
