"""A tiny random VLM: Qwen3VLForConditionalGeneration and Qwen3VLProcessor, the large preset's classes."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.micro.tokenizer import CHAT_TEMPLATE, qwen_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen3VLConfig, Qwen3VLProcessor

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 64, 2, 4, 2, 16
VISION_HIDDEN, VISION_DEPTH, VISION_HEADS = 32, 2, 2
PATCH, MERGE, TEMPORAL_PATCH = 16, 2, 2
MAX_TOKENS = 16384
PIXELS = {"shortest_edge": 64 * 64, "longest_edge": 256 * 256}  # smallest and largest area of an image
INITIALIZER_RANGE = 0.2  # at the usual 0.02 every answer would be 50:50 whatever the image


def build_random_mllm(folder: Path, seed: int) -> Path:
    """Saves model and processor in transformers layout (safetensors); equal seeds give equal bytes.

    Args:
        folder: made if missing; files of the same names are replaced.
        seed: of the weights. The process's own random state is left as it was.

    Returns:
        `folder`, which loads with AutoModelForImageTextToText and AutoProcessor without a network.
    """
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    tokenizer = qwen_tokenizer(MAX_TOKENS)
    config = _config(tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.eval().save_pretrained(folder)
    _processor(tokenizer).save_pretrained(folder)
    return folder


def _config(tokenizer: "PreTrainedTokenizerBase") -> "Qwen3VLConfig":
    from transformers import Qwen3VLConfig

    def token(text: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(text))

    return Qwen3VLConfig(
        text_config=_text_config(len(tokenizer)),
        vision_config=_vision_config(),
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=False,
    )


def _text_config(vocab_size: int) -> dict[str, object]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": MAX_TOKENS,
        "initializer_range": INITIALIZER_RANGE,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": [4, 2, 2],  # time, height, width: together half of HEAD_DIM
            "mrope_interleaved": True,
        },
    }


def _vision_config() -> dict[str, object]:
    return {
        "depth": VISION_DEPTH,
        "hidden_size": VISION_HIDDEN,
        "intermediate_size": 2 * VISION_HIDDEN,
        "num_heads": VISION_HEADS,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": TEMPORAL_PATCH,
        "out_hidden_size": HIDDEN,
        "num_position_embeddings": 64,  # a square number: the grid that positions are interpolated from
        "deepstack_visual_indexes": list(range(VISION_DEPTH)),  # at most one for each text layer
        "initializer_range": INITIALIZER_RANGE,
    }


def _processor(tokenizer: "PreTrainedTokenizerBase") -> "Qwen3VLProcessor":
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    shape = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": TEMPORAL_PATCH}
    norm = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(PIXELS), **shape, **norm),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size=dict(PIXELS), **shape, **norm),
        chat_template=CHAT_TEMPLATE,
    )
