"""What is asked about an expression, as the published models were trained on it."""

from typing import Any

from stages.evidence.backends.chat import control_tokens, defuse

TOKENS = ("[SEG]", "[TAK]")


def request(text: str, tokenizer: Any) -> str:
    """Of an expression, or of a question about the video; `<image>` is where images stand.

    Control tokens in the expression become words.
    """
    plain = defuse(text, list(dict.fromkeys((*TOKENS, "<image>", *control_tokens(tokenizer)))))
    asked = f" {plain} Please respond with a segmentation mask." if "?" in plain else f"Please segment {plain}."
    return f"<image>\n{asked}"
