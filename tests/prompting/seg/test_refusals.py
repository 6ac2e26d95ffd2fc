"""What a [SEG] checkpoint is refused for, each by name: file, tensor or key, what was expected."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.seg_chat_univi import write_chat_univi
from support.seg_checkpoints import NAMED, entry, internvl_config, write_internvl
from support.tiny_models import special_tokenizer

from stages.prompting.seg.checkpoint.families import FAMILIES, Opened
from stages.prompting.seg.checkpoint.filling import expected_of
from stages.prompting.seg.checkpoint.loading import assemble, load_seg_model

Change = Callable[[Path], None]


def in_json(name: str, change: Callable[[dict[str, Any]], Any]) -> Change:
    def apply(folder: Path) -> None:
        raw = json.loads((folder / name).read_text())
        change(raw)
        (folder / name).write_text(json.dumps(raw))

    return apply


def in_tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Change:
    def apply(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return apply


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def renamed_key(state: dict[str, torch.Tensor]) -> None:
    name = "grounding_encoder.sam2_model.memory_encoder.fuser.layers.0.g_weight"
    state[name.replace("g_weight", "gamma")] = state.pop(name)


def wrong_shape(state: dict[str, torch.Tensor]) -> None:
    name = "vision_model.encoder.layers.1.attn.qkv.weight"
    state[name] = state[name][:-1].clone()


CASES: dict[str, tuple[Change, str]] = {
    "a cut file": (cut, r"model\.safetensors: not readable as safetensors .*; fetch it again"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), r"no weights: needs model\.safetensors or"),
    "a missing tensor": (
        in_tensors(lambda state: state.pop("text_hidden_fcs.2.bias")),
        r"it lacks text_hidden_fcs\.2\.bias \(1 of \d+\)",
    ),
    "a surplus tensor": (
        in_tensors(lambda state: state.update({"language_model.model.extra": torch.zeros(2)})),
        r"it also has language_model\.model\.extra \(1",
    ),
    "a renamed tensor": (
        in_tensors(renamed_key),
        r"it lacks \S+layers\.0\.g_weight .*also has \S+layers\.0\.gamma .*nearest to",
    ),
    "another shape": (in_tensors(wrong_shape), r"attn\.qkv\.weight is \(95, 32\), must be \(96, 32\)"),
    "too few rows": (
        in_tensors(
            lambda state: state.update({(n := "language_model.model.embed_tokens.weight"): state[n][:-3].clone()})
        ),
        r"embed_tokens\.weight has \d+ rows, its tokenizer \d+ tokens, and config\.json says \d+",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), r"config\.json: missing"),
    "damaged config": (lambda folder: (folder / "config.json").write_text("{"), r"config\.json: not readable as JSON"),
    "another family": (
        in_json("config.json", lambda raw: raw.update(architectures=["Sa2VAChatModelQwen"])),
        r"architectures says Sa2VAChatModelQwen; family sa2va_internvl reads Sa2VAChatModel",
    ),
    "another template": (
        in_json("config.json", lambda raw: raw.update(template="qwen_chat")),
        r"config\.json: template is 'qwen_chat', must be 'phi3_chat'",
    ),
    "another language model": (
        in_json("config.json", lambda raw: raw["llm_config"].update(architectures=["Phi3ForCausalLM"])),
        r"llm_config is a Phi3ForCausalLM, which is not supported; known: Qwen2ForCausalLM",
    ),
    "another feature layer": (
        in_json("config.json", lambda raw: raw.update(select_layer=-4)),
        r"config\.json: select_layer is -4, must be -1",
    ),
    "a lacking key": (
        in_json("config.json", lambda raw: raw["vision_config"].pop("hidden_size")),
        r"vision_config: lacks hidden_size",
    ),
    "more layers than there are": (
        in_json("config.json", lambda raw: raw["llm_config"].update(num_hidden_layers=3)),
        r"it lacks language_model\.model\.layers\.2\.",
    ),
    "no [SEG]": (
        lambda folder: special_tokenizer({**NAMED, "seg": "[NOT]"}).save_pretrained(folder),
        r"its tokenizer has no \[SEG\]",
    ),
    "no tokenizer": (
        lambda folder: (folder / "tokenizer_config.json").unlink(),
        r"tokenizer_config\.json: missing, or does not say tokenizer_class",
    ),
    "a tokenizer of another class": (
        in_json("tokenizer_config.json", lambda raw: raw.update(tokenizer_class="GPT9Tokenizer")),
        r"tokenizer_class GPT9Tokenizer is not supported",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_by_name(tmp_path: Path, case: str) -> None:
    write_internvl(tmp_path, shards=1)
    change, message = CASES[case]
    change(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_seg_model(tmp_path, entry("sa2va_internvl"), "cpu", "float32")


def test_shards(tmp_path: Path) -> None:
    """A shard that is not there, a tensor in two, and one that the index promises in vain."""
    write_internvl(tmp_path)
    first, second = sorted(tmp_path.glob("*.safetensors"))
    kept = second.read_bytes()
    second.unlink()
    refused(tmp_path, rf"lacks {second.name}, which model\.safetensors\.index\.json lists")
    state = load_file(first)
    second.write_bytes(kept)
    name, tensor = next(iter(state.items()))
    save_file({**load_file(second), name: tensor}, second)
    refused(tmp_path, rf"{second.name}: holds \S+, which is in {first.name} too")
    second.write_bytes(kept)
    save_file({key: value for key, value in state.items() if key != name}, first)
    refused(tmp_path, rf"{first.name}: lacks \S+, which the index says it holds \(no file has it\)")


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_seg_model(folder, entry("sa2va_internvl"), "cpu", "float32")


def test_a_torch_file_that_would_run_code(tmp_path: Path) -> None:
    """Torch files are read as plain state dicts; what would run code is refused before it does."""
    written = write_internvl(tmp_path, shards=1)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    model = load_seg_model(tmp_path, entry("sa2va_internvl"), "cpu", "float32")
    assert torch.equal(model.mllm.lm_head.weight, written.native.lm_head.weight)
    torch.save({**state, "x": Runs(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    refused(tmp_path, r"pytorch_model\.bin: refused: it is a pickle that would run")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("write", "family", "template"),
    [
        (write_internvl, "sa2va_internvl", "phi3_chat"),
        (write_chat_univi, "chat_univi", "vicuna_v1"),
    ],
)
def test_a_model_that_changes_leaves_its_files_alone(tmp_path: Path, write: Any, family: str, template: str) -> None:
    """Tensors of the right type are mapped from the files; what training adds to them stays in memory."""
    write(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    model = load_seg_model(tmp_path, entry(family, template=template), "cpu", "float32")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


class Runs:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_names_of_sa2va_internvl3_2b(tmp_path: Path) -> None:
    """1,589 tensors, as published: nothing is read, the model has shapes alone."""
    llm = {
        "vocab_size": 151_674,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "rope_theta": 1e6,
        "rms_norm_eps": 1e-6,
    }
    raw = internvl_config(llm, "Qwen2ForCausalLM", "qwen_chat") | {"force_image_size": 448}
    raw["vision_config"] |= {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    raw["vision_config"] |= {"intermediate_size": 4096, "image_size": 448}
    family = FAMILIES["sa2va_internvl"]
    native = family.build(Opened(tmp_path, raw, {}, special_tokenizer(NAMED)), "qwen_chat")
    config = entry("sa2va_internvl", sam2="configs/sam2/sam2_hiera_l.yaml", template="qwen_chat")
    model, components = assemble(family, config, native, torch.bfloat16, None)
    names = list(expected_of(components))
    starts = ("vision_model.", "language_model.", "mlp1.", "text_hidden_fcs.", "grounding_encoder.sam2_model.")
    assert [sum(name.startswith(start) for name in names) for start in starts] == [340, 339, 6, 4, 900]
    assert len(names) == 1589
    assert all(parameter.is_meta for parameter in model.parameters())
