"""Tiny random [SEG] checkpoints as they are published: names, shards, index, config.json and tokenizer files.

The names are written out here from the native models' own, apart from the tables that are tested.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from sam2.sam2_video_predictor import SAM2VideoPredictor
from support.tiny_models import HIDDEN, seeded, special_tokenizer, text_sizes
from torch import Tensor, nn

from stages.core.config.file import SegModelEntry
from stages.tracking.sam2_model import build_sam2

SAM2 = "stages/micro/sam2_micro.yaml"
State = dict[str, Tensor]
SIDE, PATCH, WIDTH, TOKENS = 56, 14, 64, 4  # of the vision tower, of the language model, per image
NAMED = {"start": "<img>", "end": "</img>", "context": "<IMG_CONTEXT>", "seg": "[SEG]", "tak": "[TAK]"}


def entry(family: str, **changes: Any) -> SegModelEntry:
    """An entry of the config for a checkpoint of this file."""
    known: dict[str, Any] = {
        "hub": None,
        "revision": None,
        "files": [],
        "seed": None,
        "path": "x",
        "license": None,
        "size_gb": None,
        "family": family,
        "template": "phi3_chat",
        "sam2": SAM2,
        "decoder": "sam_mask_decoder",
        "state": "after_norm",
        "object_score": "forced",
    }
    return SegModelEntry.model_validate(known | changes)


def randomly(module: nn.Module) -> nn.Module:
    """Every tensor of a module drawn anew, so that none is a constant that two could share."""
    generator = torch.Generator().manual_seed(len(module.state_dict()))
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return module


def head(width: int = WIDTH) -> nn.Sequential:
    return seeded(lambda: nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 256)))


def random_sam2(seed: int = 0) -> SAM2VideoPredictor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_sam2(SAM2, SAM2VideoPredictor).eval()


def write(
    folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], tokenizer: Any, shards: int = 2
) -> Path:
    """A checkpoint's files; the tensors in as many shards, with an index where there are several."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    names = sorted(tensors)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    homes = {
        name: f"model-{i * shards // len(names) + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(names)
    }
    for home in sorted(set(homes.values())):
        save_file({name: tensors[name] for name in names if homes[name] == home}, folder / home)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": homes}))
    return folder


def sam2_published(sam2: nn.Module, prefix: str, gamma: str) -> State:
    """SAM2's tensors as a checkpoint holds them."""
    return {prefix + name.replace("gamma", gamma): tensor for name, tensor in sam2.state_dict().items()}


# ------------------------------------------------------------------ InternVL


def internvl_config(llm: Mapping[str, Any], architecture: str, template: str = "phi3-chat") -> dict[str, Any]:
    """config.json as Sa2VAChatConfig writes it, without what no one reads."""
    vision = {
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": SIDE,
        "patch_size": PATCH,
        "num_channels": 3,
        "hidden_act": "gelu",
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "qk_normalization": False,
        "drop_path_rate": 0.1,
        "dropout": 0.0,
        "architectures": ["InternVisionModel"],
    }
    return {
        "architectures": ["Sa2VAChatModel"],
        "model_type": "sa2va_chat",
        "auto_map": {"AutoModel": "x.Sa2VAChatModel"},
        "downsample_ratio": 0.5,
        "force_image_size": SIDE,
        "ps_version": "v2",
        "select_layer": -1,
        "template": template,
        "use_backbone_lora": 0,
        "use_llm_lora": 0,
        "vision_config": vision,
        "llm_config": {"architectures": [architecture], "tie_word_embeddings": False, **llm},
    }


def internvl_native(tokenizer: Any, text: Mapping[str, Any], **vision: Any) -> Any:
    """The native model that such a checkpoint becomes."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = InternVLConfig(
        text_config=dict(text),
        vision_config={
            **sizes,
            "image_size": [SIDE, SIDE],
            "patch_size": [PATCH, PATCH],
            "attention_bias": True,
            **vision,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=TOKENS,
        tie_word_embeddings=False,
    )
    return randomly(seeded(lambda: InternVLForConditionalGeneration(config)))


def internvl_published(native: Any) -> State:
    """InternVL's tensors by the names of Sa2VA's checkpoints."""
    left = dict(native.state_dict())
    published: State = {}
    own, ours = "model.vision_tower.", "vision_model."
    embeddings = {"cls_token": "class_embedding", "position_embeddings": "position_embedding"}
    embeddings |= {f"patch_embeddings.projection.{kind}": f"patch_embedding.{kind}" for kind in ("weight", "bias")}
    for name, theirs in embeddings.items():
        published[f"{ours}embeddings.{theirs}"] = left.pop(f"{own}embeddings.{name}")
    for layer in range(native.config.vision_config.num_hidden_layers):
        at, to = f"{own}encoder.layer.{layer}.", f"{ours}encoder.layers.{layer}."
        for kind in ("weight", "bias"):
            if f"{at}attention.q_proj.{kind}" in left:
                parts = [left.pop(f"{at}attention.{part}_proj.{kind}") for part in "qkv"]
                published[f"{to}attn.qkv.{kind}"] = torch.cat(parts)
        same = {"lambda_1": "ls1", "lambda_2": "ls2", "attention.q_norm.weight": "attn.q_norm.weight"}
        same |= {"attention.k_norm.weight": "attn.k_norm.weight"}
        pairs = {"layernorm_before": "norm1", "layernorm_after": "norm2", "attention.projection_layer": "attn.proj"}
        pairs |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
        same |= {f"{a}.{kind}": f"{b}.{kind}" for a, b in pairs.items() for kind in ("weight", "bias")}
        published |= {to + theirs: left.pop(at + name) for name, theirs in same.items() if at + name in left}
    for name, number in {"layer_norm": 0, "linear_1": 1, "linear_2": 3}.items():
        for kind in ("weight", "bias"):
            published[f"mlp1.{number}.{kind}"] = left.pop(f"model.multi_modal_projector.{name}.{kind}")
    published["language_model.lm_head.weight"] = left.pop("lm_head.weight")
    for name in [name for name in left if name.startswith("model.language_model.")]:
        published[name.replace("model.language_model.", "language_model.model.")] = left.pop(name)
    assert not left, sorted(left)
    return published


def qwen2_text(tokenizer: Any) -> dict[str, Any]:
    return {"model_type": "qwen2", **text_sizes(len(tokenizer)), "rope_theta": 1e6, "rms_norm_eps": 1e-6}


class Written:
    """A checkpoint on disk, and the native modules that it was written from."""

    def __init__(self, folder: Path, native: Any, heads: nn.Sequential, sam2: nn.Module, tokenizer: Any) -> None:
        self.folder, self.native, self.heads, self.sam2, self.tokenizer = folder, native, heads, sam2, tokenizer


def write_internvl(
    folder: Path, two_decoders: bool = False, shards: int = 2, vit_6b: bool = False, tied: bool = False
) -> Written:
    """Sa2VA over InternVL2.5 with Qwen2, or Sa2VA-i with its two decoders.

    Args:
        vit_6b: with the vision tower of the 26B model: RMS norms, of queries and keys too, and no biases of them.
        tied: its head is not stored, and config.json says that it is the embeddings.
    """
    tokenizer = special_tokenizer(NAMED)
    text = qwen2_text(tokenizer)
    vision = {"norm_type": "rms_norm", "use_qk_norm": True, "attention_bias": False} if vit_6b else {}
    native, heads, sam2 = internvl_native(tokenizer, text, **vision), head(), random_sam2()
    if tied:
        native.lm_head.weight.data.copy_(native.model.language_model.embed_tokens.weight)
    prefix = "grounding_encoder.sam2_model."
    state = internvl_published(native) | {f"text_hidden_fcs.{name}": t for name, t in heads.state_dict().items()}
    state |= sam2_published(sam2, prefix, "g_weight")
    if two_decoders:
        tuned = random_sam2(1).sam_mask_decoder.state_dict()
        state |= {f"{prefix}sam_mask_decoder_modified.{name}": tensor for name, tensor in tuned.items()}
    config = internvl_config(text, "Qwen2ForCausalLM")
    if vit_6b:
        config["vision_config"] |= {"norm_type": "rms_norm", "qk_normalization": True, "qkv_bias": False}
    if tied:
        config["llm_config"]["tie_word_embeddings"] = True
        del state["language_model.lm_head.weight"]
    write(folder, state, config, tokenizer, shards)
    return Written(folder, native, heads, sam2, tokenizer)
