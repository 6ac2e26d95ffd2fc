"""Tokenizers of [SEG] checkpoints: of tokenizer.json, and of the slow files that Sa2VA was published with."""

import json
from pathlib import Path

import pytest
from support.seg_chat_univi import llama_tokenizer

from stages.micro.tokenizer import QWEN_SPECIAL, byte_tokens, merged, numbered, word_merges
from stages.prompting.seg.checkpoint.tokens import load_tokenizer

ADDED = (*QWEN_SPECIAL, "<img>", "</img>", "<IMG_CONTEXT>", "[SEG]")
TEXT = "<|im_start|>user\n<img><IMG_CONTEXT></img>\nPlease segment the dog.<|im_end|>\nIt is [SEG]."


def write_slow_qwen(folder: Path) -> dict[str, int]:
    """vocab.json, merges.txt and added_tokens.json, without a tokenizer.json; returns the added tokens' ids."""
    merges = word_merges()
    vocabulary = numbered([*byte_tokens(), *merged(merges)])
    ids = {token: len(vocabulary) + i for i, token in enumerate(ADDED)}
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "added_tokens_decoder": {str(i): {"content": token, **flags} for token, i in ids.items()},
        "auto_map": {"AutoTokenizer": ["tokenization_x.X", None]},
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    (folder / "added_tokens.json").write_text(json.dumps(ids))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return ids


def test_files_of_a_slow_tokenizer(tmp_path: Path) -> None:
    ids = write_slow_qwen(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    encoded = tokenizer.encode(TEXT)
    assert [token for token in encoded if token in ids.values()] == [
        ids[name] for name in ("<|im_start|>", "<img>", "<IMG_CONTEXT>", "</img>", "<|im_end|>", "[SEG]")
    ]
    assert tokenizer.decode(encoded) == TEXT
    tokenizer.save_pretrained(tmp_path)  # and the same as tokenizer.json
    assert (tmp_path / "tokenizer.json").is_file()
    assert load_tokenizer(tmp_path).encode(TEXT) == encoded


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_slow_qwen(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(
        ValueError, match=r"merges\.txt: missing; Qwen2Tokenizer is read from tokenizer\.json or vocab\.json and"
    ):
        load_tokenizer(tmp_path)
    (tmp_path / "merges.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="its tokenizer is not readable as a Qwen2Tokenizer"):
        load_tokenizer(tmp_path)


def test_vicuna(tmp_path: Path) -> None:
    llama_tokenizer().save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("[SEG][TAK]"))[-2:] == ["[SEG]", "[TAK]"]


def test_sentencepiece_alone_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llama_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(
        ValueError, match=r"tokenizer\.model: missing; LlamaTokenizer is read from tokenizer\.json or tokenizer\.model"
    ):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"tokenizer\.model: needs the package sentencepiece: pip install"):
        load_tokenizer(tmp_path)
