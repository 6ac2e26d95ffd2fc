"""Families sa2va_qwen2_5_vl and sa2va_qwen3_vl: Sa2VA over the Qwen-VL models, in their native classes.

And qwen3_vl: a folder in transformers' own layout with text_hidden_fcs beside the model's tensors, and without a SAM2.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stages.prompting.seg.checkpoint.config import lacking, need, vocabulary_rows
from stages.prompting.seg.checkpoint.families import Family, Native, Opened
from stages.prompting.seg.checkpoint.origins import Origin

LM_HEAD, EMBEDDINGS = "lm_head.weight", "model.language_model.embed_tokens.weight"
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
TOKENS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
# Of how it was run or saved, not of the network.
NOT_OF_THE_NETWORK = (
    "dtype",
    "torch_dtype",
    "architectures",
    "auto_map",
    "transformers_version",
    "attn_implementation",
)


def build(model_type: str, config_class: str, model_class: str, prefix: str, opened: Opened, template: str) -> Native:
    """The language side of a Qwen-VL checkpoint.

    Args:
        model_type: what vision_config.model_type begins with.
        prefix: what stands before every native name.

    Raises:
        ValueError: config.json is of another model, or a file is missing.
    """
    import transformers

    from stages.prompting.seg.checkpoint.filling import parameters_on_meta
    from stages.prompting.seg.checkpoint.qwen_side import SIZES, QwenVL

    file = opened.folder / "config.json"
    lacking(opened.raw, ("vision_config", "text_config"), str(file))
    said = str(opened.raw["vision_config"].get("model_type"))
    if not said.startswith(model_type):
        raise ValueError(
            f"{file}: vision_config.model_type is {said}, must begin with {model_type}: set models.seg.family"
        )
    need({"template": template}, {"template": "published"}, f"models.seg of {opened.folder}")
    text = _network(opened.raw["text_config"])
    text["vocab_size"] = vocabulary_rows(opened, prefix + EMBEDDINGS, text.get("vocab_size"))
    tied = _ties(opened.raw) and prefix + LM_HEAD not in opened.shapes
    config = getattr(transformers, config_class)(
        text_config=text | {"tie_word_embeddings": tied},
        vision_config=_network(opened.raw["vision_config"]),
        tie_word_embeddings=tied,
        **{key: opened.raw[key] for key in TOKENS if key in opened.raw},
    )
    with parameters_on_meta():
        mllm = getattr(transformers, model_class)(config)
    _take_template(opened)
    side = QwenVL(mllm, opened.tokenizer, _image_processor(opened.folder), SIZES if prefix else None)
    return Native(side, lambda name: Origin(prefix + name), (LM_HEAD,) if tied else ())


def _network(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in NOT_OF_THE_NETWORK and not key.startswith("_")}


def _ties(raw: Mapping[str, Any]) -> bool:
    return bool(raw.get("tie_word_embeddings") or raw["text_config"].get("tie_word_embeddings"))


def _image_processor(folder: Path) -> Any:
    from transformers import Qwen2VLImageProcessor

    try:
        return Qwen2VLImageProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever a missing or damaged file raises first
        raise ValueError(
            f"{folder / 'preprocessor_config.json'}: missing or damaged ({error}); fetch it again"
        ) from error


def _take_template(opened: Opened) -> None:
    """Gives the tokenizer the checkpoint's chat template; raises ValueError where there is none."""
    tokenizer, file = opened.tokenizer, opened.folder / "chat_template.json"
    if not tokenizer.chat_template and file.is_file():
        try:
            tokenizer.chat_template = json.loads(file.read_text(encoding="utf-8"))["chat_template"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}: not a chat template ({error!r}); fetch it again") from error
    if not tokenizer.chat_template:
        raise ValueError(f"{opened.folder}: has no chat template in {' or '.join(TEMPLATE_FILES)}; fetch them again")


QWEN2_5 = ("qwen2_5_vl", "Qwen2_5_VLConfig", "Qwen2_5_VLForConditionalGeneration")
QWEN3 = ("qwen3_vl", "Qwen3VLConfig", "Qwen3VLForConditionalGeneration")


def _sa2va(name: str, model: tuple[str, str, str]) -> Family:
    return Family(
        name=name,
        kinds=("Sa2VAChatModelQwen",),
        heads="text_hidden_fcs.",
        sam2="grounding_encoder.sam2_model.",
        gamma="g_weight",
        shift=0,
        build=partial(build, *model, "model."),
    )


FAMILIES: tuple[Family, ...] = (
    _sa2va("sa2va_qwen2_5_vl", QWEN2_5),
    _sa2va("sa2va_qwen3_vl", QWEN3),
    Family(
        name="qwen3_vl",
        kinds=("Qwen3VLForConditionalGeneration",),
        heads="text_hidden_fcs.",
        sam2="",
        gamma="gamma",
        shift=0,
        build=partial(build, *QWEN3, ""),
    ),
)
