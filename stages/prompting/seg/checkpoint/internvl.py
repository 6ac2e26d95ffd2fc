"""Family sa2va_internvl: Sa2VA, Sa2VA-i and SaSaSa2VA over InternVL2.5 and InternVL3, as InternVLForConditionalGeneration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.prompting.seg.checkpoint.config import lacking, need, vocabulary_rows
from stages.prompting.seg.checkpoint.families import Family, Native, Opened
from stages.prompting.seg.checkpoint.languages import LANGUAGES, Language, native_config
from stages.prompting.seg.checkpoint.origins import Origin, renamed, renaming, third
from stages.prompting.seg.checkpoint.templates import TEMPLATES

CONTEXT = "<IMG_CONTEXT>"  # the token in whose place an image token's feature stands
LM_HEAD = "lm_head.weight"
VISION = renaming(
    (r"^model\.vision_tower\.embeddings\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^model\.vision_tower\.embeddings\.position_embeddings$", "vision_model.embeddings.position_embedding"),
    (r"^model\.vision_tower\.embeddings\.patch_embeddings\.projection\.", "vision_model.embeddings.patch_embedding."),
    (r"^model\.vision_tower\.encoder\.layer\.", "vision_model.encoder.layers."),
    (r"\.lambda_([12])$", r".ls\1"),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.[qkv]_proj\.", ".attn.qkv."),
    (r"\.attention\.projection_layer\.", ".attn.proj."),
    (r"\.attention\.([qk])_norm\.", r".attn.\1_norm."),
    (r"^model\.multi_modal_projector\.layer_norm\.", "mlp1.0."),
    (r"^model\.multi_modal_projector\.linear_1\.", "mlp1.1."),
    (r"^model\.multi_modal_projector\.linear_2\.", "mlp1.3."),
)
# What the native class computes, and so what config.json must say.
NEEDED = {"select_layer": -1, "ps_version": "v2", "use_backbone_lora": 0, "use_llm_lora": 0}


def native_config_of(opened: Opened, language: Language, tied: bool) -> Any:
    """InternVLConfig for a published config.json.

    Args:
        tied: the head is the embeddings.
    """
    from transformers import InternVLConfig

    raw, file = opened.raw, opened.folder / "config.json"
    llm = native_config(language, raw["llm_config"])
    name = f"language_model.{language.embeddings}"
    llm["vocab_size"] = vocabulary_rows(opened, name, llm.get("vocab_size"))
    vision, ratio = vision_config(raw["vision_config"], raw, file), raw.get("downsample_ratio", 0.5)
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    return InternVLConfig(
        vision_config=vision,
        text_config=llm,
        image_token_id=token_id(opened.tokenizer, CONTEXT, opened),
        image_seq_length=int(patches * ratio**2),
        downsample_ratio=ratio,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=tied,
    )


def vision_config(raw: Mapping[str, Any], whole: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The native keys for a published vision_config (InternVisionConfig)."""
    same = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "patch_size")
    optional = ("hidden_act", "layer_norm_eps", "norm_type", "num_channels")
    lacking(raw, (*same, "image_size"), f"{file}: vision_config")
    return {
        **{key: raw[key] for key in same},
        **{key: raw[key] for key in optional if key in raw},
        "image_size": whole.get("force_image_size") or raw["image_size"],
        "attention_bias": raw.get("qkv_bias", False),
        "use_qk_norm": raw.get("qk_normalization", True),
        "use_absolute_position_embeddings": True,
        "use_mean_pooling": True,
    }


def token_id(tokenizer: Any, token: str, opened: Opened) -> int:
    """Raises ValueError where the tokenizer does not have the token."""
    if (found := tokenizer.get_vocab().get(token)) is None:
        raise ValueError(f"{opened.folder}: its tokenizer has no {token}; fetch the checkpoint's own tokenizer files")
    return int(found)


def build(opened: Opened, template: str) -> Native:
    """Raises ValueError where config.json asks for what the native class does not compute."""
    from transformers import InternVLForConditionalGeneration

    from stages.prompting.seg.checkpoint.filling import parameters_on_meta
    from stages.prompting.seg.checkpoint.internvl_side import InternVL

    file = opened.folder / "config.json"
    lacking(opened.raw, ("vision_config", "llm_config", "template"), str(file))
    need({key: opened.raw.get(key, value) for key, value in NEEDED.items()}, NEEDED, str(file))
    need({"template": str(opened.raw["template"]).replace("-", "_")}, {"template": template}, str(file))
    architecture = (opened.raw["llm_config"].get("architectures") or ["none"])[0]
    if architecture not in LANGUAGES:
        raise ValueError(
            f"{file}: llm_config is a {architecture}, which is not supported; known: {', '.join(LANGUAGES)}"
        )
    language, llm = LANGUAGES[architecture], opened.raw["llm_config"]
    head = f"language_model.{language.origin(LM_HEAD, llm).name}"
    tied = bool(llm.get("tie_word_embeddings")) and head not in opened.shapes
    with parameters_on_meta():
        mllm = InternVLForConditionalGeneration(native_config_of(opened, language, tied))

    def origin(name: str) -> Origin:
        if name == LM_HEAD or name.startswith("model.language_model."):
            inner = name if name == LM_HEAD else name.replace("model.language_model.", "model.", 1)
            found = language.origin(inner, llm)
            return Origin(f"language_model.{found.name}", found.take)
        published = renamed(VISION, name)
        joint = published.endswith((".attn.qkv.weight", ".attn.qkv.bias"))
        return Origin(published, third("qkv".index(name.rsplit(".", 2)[1][0])) if joint else None)

    return Native(InternVL(mllm, opened.tokenizer, TEMPLATES[template]), origin, (LM_HEAD,) if tied else ())


FAMILY = Family(
    name="sa2va_internvl",
    kinds=("Sa2VAChatModel", "SaSaSa2VAChatModel"),
    heads="text_hidden_fcs.",
    sam2="grounding_encoder.sam2_model.",
    gamma="g_weight",
    shift=0,
    build=build,
)
