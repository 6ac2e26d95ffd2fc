"""The tokenizer of a published checkpoint, by a class of transformers: no code of the folder is run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEG = "[SEG]"
WHOLE = "tokenizer.json"
# tokenizer_class → (class of transformers that reads it, files it makes do with where there is no tokenizer.json)
CLASSES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Qwen2Tokenizer": ("Qwen2Tokenizer", ("vocab.json", "merges.txt")),
    "LlamaTokenizer": ("LlamaTokenizer", ("tokenizer.model",)),
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
    try:
        tokenizer = getattr(transformers, native).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the readers of a damaged vocabulary raise whatever comes first
        raise ValueError(f"{folder}: its tokenizer is not readable as a {said} ({error}); fetch it again") from error
    if SEG not in tokenizer.get_vocab():
        raise ValueError(f"{folder}: its tokenizer has no {SEG}: give the files of a [SEG] checkpoint, not of its base")
    return tokenizer


def _class_of(folder: Path) -> str:
    file = folder / "tokenizer_config.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))["tokenizer_class"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: missing, or does not say tokenizer_class ({error!r}); fetch it again") from error
    return str(said).removesuffix("Fast")
