"""The embedded [SEG] model's folder, as family qwen3_vl reads it: text_hidden_fcs, and where it was trained the cross-attention of
SAM2's mask decoder, beside the tensors of a Qwen3-VL."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.core.config.file import SegModelEntry
from stages.core.state.cache import atomic_path
from stages.prompting.seg.checkpoint.sam2_inside import ATTENTION, DECODER

SAM2 = "stages/micro/sam2_micro.yaml"
CLASS = "Qwen3VLForConditionalGeneration"
HEAD, WORDS = "lm_head.weight", "model.language_model.embed_tokens.weight"  # one tensor, which is stored as the words


def save_seg_model(
    mllm: Any, head: nn.Module, attentions: Mapping[str, nn.Module] | None, processor: Any, folder: Path
) -> None:
    """Config, tokenizer, image processor and float16 safetensors.

    Args:
        head: text_hidden_fcs.
        attentions: of SAM2's mask decoder, by name; None = SAM2's own are used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = mllm.config.to_dict() | {"architectures": [CLASS]}
    config["vision_config"].pop("patches", None)  # of the training's attention
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    processor.tokenizer.chat_template = processor.chat_template
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    state = {name: tensor for name, tensor in mllm.state_dict().items() if name != HEAD}
    state |= {f"text_hidden_fcs.{name}": tensor for name, tensor in head.state_dict().items()}
    for where, module in (attentions or {}).items():
        state |= {f"{ATTENTION}.{where}.{name}": tensor for name, tensor in module.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(
            {name: tensor.half().cpu().contiguous() for name, tensor in state.items()}, temporary, {"format": "pt"}
        )


def load_seg_weights(folder: Path, mllm: Any, head: nn.Module, attentions: Mapping[str, nn.Module]) -> None:
    """What `save_seg_model` wrote, into modules of the same shapes; a decoder that is not in the folder stays as it is.

    Raises:
        ValueError: the folder holds no such model.
    """
    file = folder / "model.safetensors"
    if not file.is_file():
        raise ValueError(f"{folder}: no [SEG] model to start from: {file.name} is missing")
    state = {name: tensor.float() for name, tensor in load_file(file).items()}

    def below(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)}

    try:
        head.load_state_dict(below("text_hidden_fcs."))
        for where, module in attentions.items():
            if own := below(f"{ATTENTION}.{where}."):
                module.load_state_dict(own)
        mllm.load_state_dict(state | {HEAD: state[WORDS]})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{file}: is not a model of this training: {str(error).splitlines()[0]}") from error


def entry_of(folder: Path) -> SegModelEntry:
    """The folder's entry of the config."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as handle:
        held = {name.split(".")[0] for name in handle.keys()}  # noqa: SIM118
    return SegModelEntry(
        hub=None,
        revision=None,
        files=[],
        seed=None,
        path=str(folder),
        license="Apache-2.0",
        family="qwen3_vl",
        template="published",
        sam2=SAM2,
        decoder=next((name for name in (ATTENTION, DECODER) if name in held), None),
        state="after_norm",
        object_score="forced",
        size_gb=None,
    )
