"""What is asked about an expression, as the published models were trained on it. The images come before it."""

from typing import Any

from stages.evidence.backends.chat import control_tokens, defuse

TOKENS = ("[SEG]", "[TAK]")


def question(text: str, tokenizer: Any) -> str:
    """Of an expression, or of a question about the video; control tokens in it become words."""
    plain = defuse(text, [*dict.fromkeys((*TOKENS, *control_tokens(tokenizer)))])
    return f" {plain} Please respond with a segmentation mask." if "?" in plain else f"Please segment {plain}."
