"""Tiny random models of the classes that users bring: text encoders and MLLMs, written as the hub has them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stages.micro.mllm import build_random_mllm
from stages.micro.text import build_random_text
from stages.micro.tokenizer import QWEN_SPECIAL, WORDS, byte_tokens, merged, numbered, qwen_tokenizer, word_merges

HIDDEN, POSITIONS = 32, 64
WORD_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MPNET_FIRST = ("<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>")
IMAGE_CHAT = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{ IMAGE }}{%- else %}{{ part.text }}{%- endif %}"
    "{%- endfor %}{{ '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)


def seeded(make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


# ------------------------------------------------------------- text encoders


def build_roberta(folder: Path) -> Path:
    return build_random_text(folder, 0)


def build_bert(folder: Path) -> Path:
    """BertModel with WordPiece: what all-MiniLM-L6-v2 is."""
    from transformers import BertConfig, BertModel, BertTokenizer

    vocabulary = numbered([*WORD_PIECES, *dict.fromkeys(WORDS.split()), *"bcdefghijklmnopqrstuvwxyz.,"])
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "hidden_size": HIDDEN}
    config = BertConfig(
        vocab_size=len(vocabulary), max_position_embeddings=POSITIONS, initializer_range=0.1, pad_token_id=0, **sizes
    )
    seeded(lambda: BertModel(config)).save_pretrained(folder)
    BertTokenizer(vocab=vocabulary, model_max_length=512).save_pretrained(folder)
    return folder


def build_mpnet(folder: Path) -> Path:
    """MPNetModel: what all-mpnet-base-v2 is."""
    from transformers import MPNetConfig, MPNetModel, MPNetTokenizer

    vocabulary = numbered([*MPNET_FIRST, *dict.fromkeys(WORDS.split()), *"bcdefghijklmnopqrstuvwxyz.,"])
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "hidden_size": HIDDEN}
    config = MPNetConfig(
        vocab_size=len(vocabulary),
        max_position_embeddings=POSITIONS + 2,
        initializer_range=0.1,
        pad_token_id=1,
        **sizes,
    )
    seeded(lambda: MPNetModel(config)).save_pretrained(folder)
    MPNetTokenizer(vocab=vocabulary, model_max_length=512).save_pretrained(folder)
    return folder


def as_sentence_transformers(folder: Path) -> Path:
    """Adds what sentence-transformers puts beside the transformer."""
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    return folder


def as_old_sentence_transformers(folder: Path) -> Path:
    """Moves the transformer into 0_Transformer, where older versions kept it."""
    below = folder / "0_Transformer"
    below.mkdir()
    for path in list(folder.iterdir()):
        if path.is_file():
            shutil.move(path, below / path.name)
    as_sentence_transformers(folder)
    return folder


TEXT: dict[str, Callable[[Path], Path]] = {"roberta": build_roberta, "mpnet": build_mpnet, "minilm": build_bert}

# ------------------------------------------------------------- CLIP


# ------------------------------------------------------------- MLLMs


def build_qwen3_vl(folder: Path) -> Path:
    return build_random_mllm(folder, 0)


def build_qwen2_5_vl(folder: Path) -> Path:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    from stages.micro.tokenizer import CHAT_TEMPLATE

    tokenizer = qwen_tokenizer(4096)
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    text = {**text_sizes(len(tokenizer)), "rope_parameters": rope}
    vision = {
        "depth": 2,
        "hidden_size": HIDDEN,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 64,
        "patch_size": 14,
        "window_size": 56,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.2,
    }
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
    ids |= {f"vision_{s}_token_id": tokenizer.convert_tokens_to_ids(f"<|vision_{s}|>") for s in ("start", "end")}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    seeded(lambda: Qwen2_5_VLForConditionalGeneration(config)).save_pretrained(folder)
    shape = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    pixels = {"shortest_edge": 56 * 56, "longest_edge": 224 * 224}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(pixels), **shape),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=dict(pixels), **shape),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def build_internvl(folder: Path) -> Path:
    """InternVL in the -hf layout: InternVLForConditionalGeneration over a Qwen2 language model."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = special_tokenizer(named)
    side, patch = 56, 14
    vision = {
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": [side, side],
        "patch_size": [patch, patch],
        "initializer_range": 0.2,
    }
    tokens = (side // patch) ** 2 // 4
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **text_sizes(len(tokenizer))},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=tokens,
        tie_word_embeddings=False,
    )
    seeded(lambda: InternVLForConditionalGeneration(config)).save_pretrained(folder)
    size = {"height": side, "width": side}
    InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, max_patches=2),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=tokens,
        chat_template=IMAGE_CHAT.replace("IMAGE", "'<IMG_CONTEXT>\n'"),
    ).save_pretrained(folder)
    return folder


def build_smolvlm(folder: Path) -> Path:
    """SmolVLMForConditionalGeneration over a Llama language model; its processor needs num2words."""
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    named = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    tokenizer = special_tokenizer(named)
    side, patch, scale = 64, 16, 2
    vision = {
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": side,
        "patch_size": patch,
        "initializer_range": 0.2,
    }
    config = SmolVLMConfig(
        text_config={"model_type": "llama", **text_sizes(len(tokenizer)), "pad_token_id": tokenizer.pad_token_id},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=scale,
    )
    seeded(lambda: SmolVLMForConditionalGeneration(config)).save_pretrained(folder)
    sizes = {"size": {"longest_edge": 2 * side}, "max_image_size": {"longest_edge": side}}
    SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(**sizes),
        tokenizer=tokenizer,
        video_processor=SmolVLMVideoProcessor(**sizes),
        image_seq_len=(side // patch) ** 2 // scale**2,
        chat_template=IMAGE_CHAT.replace("IMAGE", "'<image>'"),
    ).save_pretrained(folder)
    return folder


MLLMS: dict[str, Callable[[Path], Path]] = {
    "qwen2_5_vl": build_qwen2_5_vl,
    "qwen3_vl": build_qwen3_vl,
    "internvl": build_internvl,
    "smolvlm": build_smolvlm,
}


def text_sizes(vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "initializer_range": 0.2,  # at the usual 0.02 every answer would be 50:50 whatever the image
    }


def special_tokenizer(named: dict[str, str]) -> Any:
    """The micro VLM's tokenizer with a model's own image tokens, known to it by name."""
    from transformers import Qwen2Tokenizer

    merges = word_merges()
    return Qwen2Tokenizer(
        vocab=numbered([*byte_tokens(), *merged(merges), *QWEN_SPECIAL, *named.values()]),
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named,
        model_max_length=4096,
    )


# Rows of the embeddings of the published models.
FULL_VOCABULARY = {"qwen3_vl": 151_936, "internvl": 151_674, "smolvlm": 49_280}


def widen(folder: Path, vocabulary: int) -> Path:
    """Gives a saved MLLM a vocabulary of that size; the new rows are as random as the others."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
        for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    return folder
