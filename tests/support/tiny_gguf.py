"""A tiny random language model in llama.cpp's format, written with its own package `gguf`."""

import json
from pathlib import Path

import numpy as np

from stages.micro.tokenizer import CHAT_TEMPLATE, qwen_tokenizer

WIDTH, INNER, LAYERS, HEADS, CONTEXT = 64, 128, 2, 4, 1024
NORMAL, CONTROL = 1, 3  # kinds of tokens


def write_tiny_gguf(path: Path) -> Path:
    import gguf

    tokenizer = qwen_tokenizer(CONTEXT)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if token in special else NORMAL for token in tokens])
    writer.add_token_merges(_merges(tokenizer.backend_tokenizer.to_str()))
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(CHAT_TEMPLATE)
    rng = np.random.default_rng(0)
    for name, shape in _shapes(len(tokens)).items():
        ones = np.ones(shape, np.float32)
        writer.add_tensor(name, ones if "norm" in name else (0.2 * rng.standard_normal(shape)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _merges(serialised: str) -> list[str]:
    return [" ".join(pair) for pair in json.loads(serialised)["model"]["merges"]]


def _shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Of every tensor; a matrix as (outputs, inputs)."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (vocabulary, WIDTH),
    }
    for layer in range(LAYERS):
        own = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
        own |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
        norms = dict.fromkeys(("attn_norm", "ffn_norm"), (WIDTH,))
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in (own | norms).items()}
    return shapes
