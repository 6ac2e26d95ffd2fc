"""Tiny random Sa2VA checkpoints over Qwen2.5-VL and Qwen3-VL, with config.json as transformers 4.57 wrote it."""

import json
from pathlib import Path
from typing import Any

from support.seg_checkpoints import HIDDEN, WIDTH, Written, head, random_sam2, randomly, sam2_published, seeded, write
from support.tiny_models import text_sizes

from stages.micro.tokenizer import CHAT_TEMPLATE, qwen_tokenizer

SECTIONS = [2, 3, 3]  # of M-RoPE; half of a head's width in all
VISION = {
    "qwen2_5_vl": {
        "model_type": "qwen2_5_vl",
        "depth": 2,
        "hidden_size": HIDDEN,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "patch_size": 14,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    },
    "qwen3_vl": {
        "model_type": "qwen3_vl",
        "depth": 2,
        "hidden_size": HIDDEN,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "patch_size": 16,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    },
}
CLASSES = {
    "qwen2_5_vl": ("Qwen2_5_VLConfig", "Qwen2_5_VLForConditionalGeneration"),
    "qwen3_vl": ("Qwen3VLConfig", "Qwen3VLForConditionalGeneration"),
}


def write_qwen(folder: Path, base: str, template_file: str = "chat_template.jinja", tied: bool = False) -> Written:
    """A whole checkpoint; `tied` = its head is not stored, and config.json says that it is the embeddings."""
    import transformers

    tokenizer = qwen_tokenizer(4096)
    tokenizer.add_tokens(["[SEG]"], special_tokens=True)
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
    ids |= {f"vision_{s}_token_id": tokenizer.convert_tokens_to_ids(f"<|vision_{s}|>") for s in ("start", "end")}
    sizes = {key: value for key, value in text_sizes(len(tokenizer)).items() if base == "qwen3_vl" or key != "head_dim"}
    rope = {"rope_type": "default", "mrope_section": SECTIONS}
    config_class, model_class = (getattr(transformers, name) for name in CLASSES[base])
    native = config_class(
        text_config={**sizes, "rope_parameters": {**rope, "rope_theta": 1e6}},
        vision_config={**VISION[base], "initializer_range": 0.2},
        tie_word_embeddings=tied,
        **ids,
    )
    model, heads, sam2 = randomly(seeded(lambda: model_class(native))), head(), random_sam2()
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items() if not (tied and "lm_head" in name)}
    state |= {f"text_hidden_fcs.{name}": tensor for name, tensor in heads.state_dict().items()}
    state |= sam2_published(sam2, "grounding_encoder.sam2_model.", "g_weight")
    config = {
        "architectures": ["Sa2VAChatModelQwen"],
        "model_type": "sa2va_chat",
        "template": None,
        **ids,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "vision_config": VISION[base],
        "text_config": {**sizes, "rope_theta": 1e6, "rope_scaling": rope, "torch_dtype": "bfloat16"},
    }
    write(folder, state, config, tokenizer)
    patch = VISION[base]["patch_size"]
    processor: dict[str, Any] = {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
    }
    processor |= {
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "min_pixels": 3136,
        "max_pixels": 12845056,
    }
    if base == "qwen3_vl":
        processor |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    jinja = template_file.endswith(".jinja")
    (folder / template_file).write_text(CHAT_TEMPLATE if jinja else json.dumps({"chat_template": CHAT_TEMPLATE}))
    return Written(folder, model, heads, sam2, tokenizer)
