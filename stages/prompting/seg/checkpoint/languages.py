"""Language models inside the InternVL family: which native class an architecture is, and its published names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.prompting.seg.checkpoint.origins import Origin, grouped, renamed, renaming

# Keys of llm_config that shape the network, in any of the native configs; others are of training or of older versions.
SHAPING = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "max_position_embeddings",
    "rope_theta",
    "rope_scaling",
    "attention_bias",
    "mlp_bias",
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "layer_types",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
INTERNLM2 = renaming(
    (r"^model\.embed_tokens\.", "model.tok_embeddings."),
    (r"^lm_head\.", "output."),
    (r"\.input_layernorm\.", ".attention_norm."),
    (r"\.post_attention_layernorm\.", ".ffn_norm."),
    (r"\.mlp\.gate_proj\.", ".feed_forward.w1."),
    (r"\.mlp\.up_proj\.", ".feed_forward.w3."),
    (r"\.mlp\.down_proj\.", ".feed_forward.w2."),
    (r"\.self_attn\.o_proj\.", ".attention.wo."),
    (r"\.self_attn\.[qkv]_proj\.", ".attention.wqkv."),
)


@dataclass(frozen=True)
class Language:
    """A language model as transformers has it.

    Attributes:
        model_type: of transformers.
        dropped: keys of llm_config that its native class does without.
        origin: (name in a causal LM of transformers, llm_config) → where it comes from.
        embeddings: the published name of the input embeddings.
    """

    model_type: str
    embeddings: str
    dropped: tuple[str, ...]
    origin: Callable[[str, Mapping[str, Any]], Origin]


def _same(name: str, config: Mapping[str, Any]) -> Origin:
    return Origin(name)


def _internlm2(name: str, config: Mapping[str, Any]) -> Origin:
    published = renamed(INTERNLM2, name)
    if not published.endswith(("wqkv.weight", "wqkv.bias")):
        return Origin(published)
    heads = config["num_attention_heads"]
    return Origin(published, grouped(name.rsplit(".", 2)[1][0], heads, config.get("num_key_value_heads") or heads))


def _plain(model_type: str) -> Language:
    return Language(model_type, "model.embed_tokens.weight", (), _same)


# architectures[0] of llm_config → the language model. InternLM2's dynamic NTK scaling acts beyond 32k tokens alone.
LANGUAGES: Mapping[str, Language] = {
    "Qwen2ForCausalLM": _plain("qwen2"),
    "Qwen3ForCausalLM": _plain("qwen3"),
    "LlamaForCausalLM": _plain("llama"),
    "InternLM2ForCausalLM": Language("llama", "model.tok_embeddings.weight", ("rope_scaling",), _internlm2),
}


def native_config(language: Language, config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of llm_config that shape the native class."""
    kept = {key: config[key] for key in SHAPING if config.get(key) is not None and key not in language.dropped}
    if language.origin is _internlm2 and config.get("bias"):
        kept["attention_bias"] = True
    return {"model_type": language.model_type, **kept}
