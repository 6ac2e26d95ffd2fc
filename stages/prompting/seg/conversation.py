"""Expressions as the MLLM reads them: their control tokens are words."""

from typing import Any

from stages.evidence.backends.chat import control_tokens, defuse

TOKENS = ("[SEG]", "[TAK]", "<image>")


def as_words(text: str, tokenizer: Any) -> str:
    """An expression without what the model would take for its own tokens, or a request for a place of images."""
    return defuse(text, list(dict.fromkeys((*TOKENS, *control_tokens(tokenizer)))))
