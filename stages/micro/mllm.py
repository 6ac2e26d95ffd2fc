"""Tiny VLMs of the large preset's classes, Qwen3VLForConditionalGeneration and Qwen3VLProcessor.

RANDOM has every part of the large model (stacked features, grouped keys, pairs of frames) and random weights, for tests.
TRAINED is what stages.micro.training.mllm trains: a card of 64 × 64 pixels is four tokens to it.
SEG is what stages.micro.training.seg trains: a frame of 128 × 160 pixels is eighty tokens to it, 16 × 16 pixels each.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stages.micro.tokenizer import CHAT_TEMPLATE, SENTENCE_FIRST, qwen_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

PATCH, MERGE = 16, 2
MAX_TOKENS = 16384


@dataclass(frozen=True)
class Shape:
    """The sizes of a VLM.

    Attributes:
        mrope: shares of time, height and width in a head's rotary channels: together half of head_dim.
        positions: a square number: the grid that positions of patches are interpolated from.
        stacked: vision layers whose features are added to text layers; at most one for each text layer.
        pixels: smallest and largest area of an image.
        tied: whether words are read with the vectors that they are written with.
        initializer_range: at the usual 0.02 every answer of a tiny model is 50:50 whatever the image.
        patch: side of a patch in pixels; MERGE² of them are one token.
        tokens: words that are one token each beside the tokenizer's own, behind those.
        template: of chats.
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mrope: tuple[int, int, int]
    vision_hidden: int
    vision_inner: int
    vision_layers: int
    vision_heads: int
    frames_per_patch: int
    positions: int
    stacked: tuple[int, ...]
    pixels: tuple[int, int]
    tied: bool
    initializer_range: float
    patch: int = PATCH
    tokens: tuple[str, ...] = ()
    template: str = CHAT_TEMPLATE


RANDOM = Shape(
    hidden=64,
    inner=128,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    mrope=(4, 2, 2),
    vision_hidden=32,
    vision_inner=64,
    vision_layers=2,
    vision_heads=2,
    frames_per_patch=2,
    positions=64,
    stacked=(0, 1),
    pixels=(64 * 64, 256 * 256),
    tied=False,
    initializer_range=0.2,
)
TRAINED = Shape(
    hidden=128,
    inner=384,
    layers=4,
    heads=4,
    kv_heads=4,
    head_dim=32,
    mrope=(6, 5, 5),
    vision_hidden=128,
    vision_inner=256,
    vision_layers=3,
    vision_heads=4,
    frames_per_patch=1,
    positions=256,
    stacked=(),
    pixels=(64 * 64, 64 * 64),
    tied=True,
    initializer_range=0.04,
)
CLIPS = 10  # that an answer can name
SEG = replace(
    TRAINED,
    positions=400,
    pixels=(64 * 64, 160 * 160),
    patch=8,
    tokens=("[SEG]", *(f"Clip_{k}" for k in range(1, CLIPS + 1)), "Please segment"),
    template=SENTENCE_FIRST,
)


def build_random_mllm(folder: Path, seed: int) -> Path:
    """Saves model and processor in transformers layout (safetensors); equal seeds give equal bytes.

    Args:
        folder: made if missing; files of the same names are replaced.
        seed: of the weights. The process's own random state is left as it was.

    Returns:
        `folder`, which loads with AutoModelForImageTextToText and AutoProcessor without a network.
    """
    model, processor = make_mllm(RANDOM, seed)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_mllm(shape: Shape, seed: int) -> "tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]":
    """The untrained model and its processor."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    tokenizer = qwen_tokenizer(MAX_TOKENS, shape.tokens)
    config = _config(shape, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
    assert model.generation_config is not None
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, _processor(shape, tokenizer)


def _config(shape: Shape, tokenizer: "PreTrainedTokenizerBase") -> "Qwen3VLConfig":
    from transformers import Qwen3VLConfig

    def token(text: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(text))

    return Qwen3VLConfig(
        text_config=_text_config(shape, len(tokenizer)),
        vision_config=_vision_config(shape),
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=shape.tied,
    )


def _text_config(shape: Shape, vocab_size: int) -> dict[str, object]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": MAX_TOKENS,
        "initializer_range": shape.initializer_range,
        "tie_word_embeddings": shape.tied,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": list(shape.mrope),
            "mrope_interleaved": True,
        },
    }


def _vision_config(shape: Shape) -> dict[str, object]:
    return {
        "depth": shape.vision_layers,
        "hidden_size": shape.vision_hidden,
        "intermediate_size": shape.vision_inner,
        "num_heads": shape.vision_heads,
        "patch_size": shape.patch,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": shape.frames_per_patch,
        "out_hidden_size": shape.hidden,
        "num_position_embeddings": shape.positions,
        "deepstack_visual_indexes": list(shape.stacked),
        "initializer_range": shape.initializer_range,
    }


def _processor(shape: Shape, tokenizer: "PreTrainedTokenizerBase") -> "Qwen3VLProcessor":
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    patches = {"patch_size": shape.patch, "merge_size": MERGE, "temporal_patch_size": shape.frames_per_patch}
    norm = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    size = {"shortest_edge": shape.pixels[0], "longest_edge": shape.pixels[1]}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(size), **patches, **norm),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size=dict(size), **patches, **norm),
        chat_template=shape.template,
    )
