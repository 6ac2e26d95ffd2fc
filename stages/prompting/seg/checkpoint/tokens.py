"""The tokenizer of a published checkpoint, by a class of transformers: no code of the folder is run."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEG = "[SEG]"
WHOLE, SENTENCES = "tokenizer.json", "tokenizer.model"
# tokenizer_class → (class of transformers that reads it, files it makes do with where there is no tokenizer.json)
CLASSES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Qwen2Tokenizer": ("Qwen2Tokenizer", ("vocab.json", "merges.txt")),
    "LlamaTokenizer": ("LlamaTokenizer", (SENTENCES,)),
    "PreTrainedTokenizer": ("PreTrainedTokenizerFast", (WHOLE,)),
    "TokenizersBackend": ("PreTrainedTokenizerFast", (WHOLE,)),
    "InternLM2Tokenizer": ("PreTrainedTokenizerFast", (WHOLE,)),  # by itself SentencePiece with code of the folder's
}


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint.

    Raises:
        ValueError: a file is missing or damaged, its class is not supported, or it has no [SEG]; names the file and the fix.
    """
    import transformers

    said = _class_of(folder)
    if said not in CLASSES:
        raise ValueError(
            f"{folder / 'tokenizer_config.json'}: tokenizer_class {said} is not supported (known: {', '.join(CLASSES)})"
        )
    native, files = CLASSES[said]
    if not (folder / WHOLE).is_file() and (missing := [name for name in files if not (folder / name).is_file()]):
        slow = " by its slow tokenizer's converter in transformers" if missing == [WHOLE] else ""
        raise ValueError(
            f"{folder / missing[0]}: missing; {said} is read from {WHOLE} or {' and '.join(files)}: "
            f"fetch it, or make {WHOLE} once{slow}"
        )
    _check_sentencepiece(folder)
    try:
        tokenizer = getattr(transformers, native).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the readers of a damaged vocabulary raise whatever comes first
        raise ValueError(f"{folder}: its tokenizer is not readable as a {said} ({error}); fetch it again") from error
    if SEG not in tokenizer.get_vocab():
        raise ValueError(f"{folder}: its tokenizer has no {SEG}: give the files of a [SEG] checkpoint, not of its base")
    return tokenizer


def _check_sentencepiece(folder: Path) -> None:
    """Raises ValueError where there is a tokenizer.model alone and nothing installed that reads it."""
    alone = (folder / SENTENCES).is_file() and not (folder / WHOLE).is_file()
    if alone and importlib.util.find_spec("sentencepiece") is None:
        raise ValueError(
            f"{folder / SENTENCES}: needs the package sentencepiece: pip install 'sentencepiece>=0.2', or make {WHOLE} of it "
            "once where it is installed"
        )


def _class_of(folder: Path) -> str:
    file = folder / "tokenizer_config.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))["tokenizer_class"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: missing, or does not say tokenizer_class ({error!r}); fetch it again") from error
    return str(said).removesuffix("Fast")
