"""The tiny random text encoder and VLM of the micro preset: real classes, offline, the same bytes every time."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import (
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    RobertaModel,
)

from stages.micro.mllm import build_random_mllm
from stages.micro.text import build_random_text
from stages.micro.tokenizer import WORDS, qwen_tokenizer, roberta_tokenizer

BUILDERS = {"text": build_random_text, "mllm": build_random_mllm}
TOKENIZERS = {"text": roberta_tokenizer(512), "mllm": qwen_tokenizer(512)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("micro")
    return {role: build(root / role, 0) for role, build in BUILDERS.items()}


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("role", BUILDERS)
def test_a_seed_gives_the_same_bytes_and_leaves_the_random_state_alone(role, folders, tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = BUILDERS[role](tmp_path / "deep" / "again", 0)
    assert torch.equal(before, torch.get_rng_state())
    assert digests(again) == digests(folders[role])
    other = BUILDERS[role](tmp_path / "other", 1)
    assert {n for n, d in digests(other).items() if d != digests(again)[n]} == {"model.safetensors"}


@pytest.mark.parametrize("role", TOKENIZERS)
@given(text=st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_the_tokenizer(role, text):
    tokenizer = TOKENIZERS[role]
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert all(0 <= index < len(tokenizer) for index in ids)
    if role == "text":  # Qwen2's normalises to NFC
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("role", TOKENIZERS)
def test_every_listed_word_is_one_token_after_a_blank(role):
    tokenizer = TOKENIZERS[role]
    lengths = {word: len(tokenizer.encode(f" {word}", add_special_tokens=False)) for word in WORDS.split()}
    assert {word for word, length in lengths.items() if length != 1} == set()


def test_the_text_encoder_loads_offline_and_ignores_padding(folders):
    tokenizer = AutoTokenizer.from_pretrained(folders["text"], local_files_only=True)
    model = AutoModel.from_pretrained(folders["text"], local_files_only=True, use_safetensors=True)
    assert type(model) is RobertaModel and (model.config.hidden_size, model.config.num_hidden_layers) == (64, 2)
    captions = ["a red circle", "the small blue square that is moving to the left behind it"]
    batch = tokenizer(captions, padding=True, return_tensors="pt")
    assert batch["input_ids"][0, 0] == tokenizer.cls_token_id and tokenizer.sep_token_id in batch["input_ids"][0]
    with torch.inference_mode():
        together = model(**batch).last_hidden_state
        alone = model(**tokenizer(captions[0], return_tensors="pt")).last_hidden_state
        other = model(**tokenizer("a blue circle", return_tensors="pt")).last_hidden_state
    torch.testing.assert_close(together[0, : alone.shape[1]], alone[0], atol=1e-5, rtol=0)
    assert (other - alone).abs().max() > 0.1  # the words matter


def test_the_vlm_loads_offline_and_sees_the_image(folders):
    processor = AutoProcessor.from_pretrained(folders["mllm"], local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(folders["mllm"], local_files_only=True, use_safetensors=True)
    assert type(model) is Qwen3VLForConditionalGeneration and type(processor) is Qwen3VLProcessor
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is it?"}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|im_start|>assistant\n") and text.index("<|image_pad|>") < text.index("what is it?")

    def logits(value: int) -> torch.Tensor:
        image = Image.fromarray(np.full((96, 128, 3), value, np.uint8))
        inputs = processor(text=[text], images=[[image]], return_tensors="pt")
        assert (inputs["input_ids"] == model.config.image_token_id).sum() == 96 * 128 // 32**2
        with torch.inference_mode():
            return model(**inputs).logits[0, -1]

    assert logits(20).isfinite().all()
    assert (logits(20) - logits(230)).abs().max() > 0.1
