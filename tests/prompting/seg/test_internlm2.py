"""Sa2VA over InternLM2 (8B, 26B): its layers become Llama's, against a plain InternLM2."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support import internlm2
from support.seg_checkpoints import (
    NAMED,
    entry,
    head,
    internvl_config,
    internvl_native,
    internvl_published,
    qwen2_text,
    random_sam2,
    sam2_published,
    write,
)
from support.tiny_models import special_tokenizer

from stages.prompting.seg.checkpoint.loading import load_seg_model

HEADS, GROUPS, WIDTH = 4, 2, 64
ANSWER, REQUEST = "It is [SEG].", "<image>\nPlease segment the red circle."


def write_internlm2(folder: Path, **changes: object) -> dict[str, torch.Tensor]:
    """A checkpoint whose language model is InternLM2's; returns its tensors."""
    tokenizer = special_tokenizer(NAMED)
    language = internlm2.draw(2, WIDTH, 128, HEADS, GROUPS, len(tokenizer))
    vision = internvl_published(internvl_native(tokenizer, qwen2_text(tokenizer)))
    state = {name: tensor for name, tensor in vision.items() if not name.startswith("language_model.")}
    state |= {f"language_model.{name}": tensor for name, tensor in language.items()}
    state |= {f"text_hidden_fcs.{name}": tensor for name, tensor in head().state_dict().items()}
    state |= sam2_published(random_sam2(), "grounding_encoder.sam2_model.", "g_weight")
    llm = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "num_key_value_heads": GROUPS,
        "rms_norm_eps": internlm2.EPS,
        "bias": False,
        "rope_theta": internlm2.THETA,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
        "hidden_act": "silu",
        "max_position_embeddings": 32768,
        "attn_implementation": "eager",
        **changes,
    }
    write(folder, state, internvl_config(llm, "InternLM2ForCausalLM", "internlm2_chat"), tokenizer)
    return language


def test_layers_are_those_of_internlm2(tmp_path: Path) -> None:
    language = write_internlm2(tmp_path)
    model = load_seg_model(tmp_path, entry("sa2va_internvl", template="internlm2_chat"), "cpu", "float32")
    with torch.inference_mode():
        seen = model.encode([np.zeros((20, 20, 3), dtype=np.uint8)])
        ids = model.side.ids(seen, REQUEST, ANSWER)
        embedded, _ = model.side.embed(torch.tensor([ids]), seen)
        expected = internlm2.decode(language, embedded, HEADS, GROUPS)
        [state] = model.states(seen, [REQUEST], [ANSWER])
    wanted = expected[0, ids.index(model.seg_id)]
    assert (state[0] - wanted).abs().max() / wanted.abs().max() <= 1e-6
    assert torch.equal(model.mllm.lm_head.weight, language["output.weight"])


def test_its_own_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    """By itself it is a slow SentencePiece one, whose code is in the checkpoint's folder."""
    write_internlm2(tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("Qwen2Tokenizer", "InternLM2Tokenizer"))
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(ValueError, match=r"tokenizer\.json: missing; InternLM2Tokenizer is read from tokenizer\.json"):
        load_seg_model(tmp_path, entry("sa2va_internvl", template="internlm2_chat"), "cpu", "float32")
