"""Questions as a model's chats, and its tokens that spell an answer."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from stages.evidence.questions import Parts, Picture, Question

Content = list[dict[str, Any]]


class Chats:
    """Turns questions into what a transformers processor makes of them.

    Args:
        processor: of images and text, with a chat template.
    """

    def __init__(self, processor: Any) -> None:
        self.processor, self.control = processor, control_tokens(processor.tokenizer)

    def prepare(self, questions: Sequence[Question]) -> Any:
        """The processor's tensors for a batch of chats, left-padded."""
        images = [pillow_images(question.parts) for question in questions]
        return self.tensors([self.text_of(question.parts) for question in questions], images)

    def text_of(self, parts: Parts) -> str:
        """The chat as a string, an image being a placeholder in it, up to where the answer begins."""
        chat = [{"role": "user", "content": self._content(parts)}]
        text = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert isinstance(text, str)
        return text

    def tensors(self, texts: Sequence[str], images: Sequence[Sequence[Any]], **options: Any) -> Any:
        """Of strings with placeholders and their images, left-padded."""
        bos = self.processor.tokenizer.bos_token
        if bos and texts[0].startswith(bos):  # the template has written what the tokenizer would write again
            options["add_special_tokens"] = False
        shown = [list(each) for each in images] if any(images) else None
        options |= {"padding": True, "padding_side": "left", "return_tensors": "pt"}
        return self.processor(text=list(texts), images=shown, **options)

    def _content(self, parts: Parts) -> Content:
        """Neighbouring words are one text, so that where a context ends shows nowhere."""
        content: Content = []
        for is_picture, group in groupby(parts, lambda part: isinstance(part, Picture)):
            if is_picture:
                content += [{"type": "image"} for _ in group]
            elif words := "".join(map(str, group)):
                content.append({"type": "text", "text": defuse(words, self.control)})
        return content


def pillow_images(parts: Parts) -> list[Any]:
    from PIL import Image

    return [Image.fromarray(part.pixels_HW3) for part in parts if isinstance(part, Picture)]


class OptionTokens:
    """The tokens that spell each option of a question.

    Args:
        where: of the model, for messages.
    """

    def __init__(self, tokenizer: Any, where: str) -> None:
        self.tokenizer, self.where = tokenizer, where
        self._known: dict[tuple[str, ...], list[list[int]]] = {}

    def of(self, options: tuple[str, ...]) -> list[list[int]]:
        """Ids per option.

        Raises:
            ValueError: an option is not one token in any spelling, or two options share a token.
        """
        if options not in self._known:
            ids = [answer_tokens(self.tokenizer, option, self.where) for option in options]
            if len({token for each in ids for token in each}) < sum(map(len, ids)):
                raise ValueError(f"the options {', '.join(map(repr, options))} share a spelling; name them apart")
            self._known[options] = ids
        return self._known[options]


def spellings(option: str) -> list[str]:
    """An option as it is, capitalised and in capitals, each with and without a blank before it."""
    words = dict.fromkeys((option, option.capitalize(), option.upper()))
    return [*words, *(f" {word}" for word in words)]


def answer_tokens(tokenizer: Any, option: str, where: str) -> list[int]:
    """Ids of an option's spellings that are one token, each once.

    Raises:
        ValueError: none is one token.
    """
    variants = spellings(option)
    coded = [tokenizer.encode(variant, add_special_tokens=False) for variant in variants]
    tokens = sorted({ids[0] for ids in coded if len(ids) == 1 and ids[0] != tokenizer.unk_token_id})
    if not tokens:
        raise ValueError(
            f"{where}: none of {', '.join(map(repr, variants))}, the spellings of the answer {option!r}, is one token "
            "of its tokenizer; choose an MLLM whose vocabulary has one"
        )
    return tokens


def control_tokens(tokenizer: Any) -> list[str]:
    return [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]


def defuse(text: str, control: Sequence[str]) -> str:
    """Breaks control tokens that stand in an expression: they are words there, not images or turns."""
    for token in control:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
