"""How many tokens a question has: by the model's own processor where it is here, otherwise by an estimate."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages.evidence.questions import Parts, Picture

PIXELS_PER_TOKEN = 32  # of a side: patches of 16 pixels, two by two of them merged (Qwen3-VL)
CHARACTERS_PER_TOKEN = 4
FRAME = 10  # tokens of a chat around the question
PER_PICTURE = 2  # tokens around a picture


class Counter(Protocol):
    """Counts tokens; `name` says in words how."""

    name: str

    def count(self, parts: Parts) -> int: ...


class Estimate:
    """What a large model would need, roughly."""

    name = "an estimate: the model's processor is not here"

    def count(self, parts: Parts) -> int:
        return FRAME + sum(
            self._of_picture(part) if isinstance(part, Picture) else self._of_words(part) for part in parts
        )

    def _of_picture(self, picture: Picture) -> int:
        height, width = picture.pixels_HW3.shape[:2]
        return PER_PICTURE + round(height / PIXELS_PER_TOKEN) * round(width / PIXELS_PER_TOKEN)

    def _of_words(self, words: str) -> int:
        return -(-len(words) // CHARACTERS_PER_TOKEN)


class ByProcessor:
    """The count of a model's processor; each size of picture is put through it once."""

    def __init__(self, processor: Any, folder: Path) -> None:
        from stages.evidence.backends.chat import Chats

        self.chats, self.name = Chats(processor), f"counted by the processor of {folder}"
        self.of_size: dict[tuple[int, ...], int] = {}
        self.of_words: dict[str, int] = {}

    def count(self, parts: Parts) -> int:
        return self._words(self.chats.text_of(parts)) + sum(
            self._expanded(part) for part in parts if isinstance(part, Picture)
        )

    def _words(self, text: str) -> int:
        if text not in self.of_words:
            self.of_words[text] = len(self.chats.processor.tokenizer(text)["input_ids"])
        return self.of_words[text]

    def _expanded(self, picture: Picture) -> int:
        """Tokens that stand for a picture beside its placeholder."""
        size = picture.pixels_HW3.shape
        if size not in self.of_size:
            blank = Picture(np.zeros(size, np.uint8))
            ids = self.chats.tensors([text := self.chats.text_of((blank,))], [_images(blank)])["input_ids"]
            self.of_size[size] = ids.shape[1] - self._words(text)
        return self.of_size[size]


def _images(picture: Picture) -> list[Any]:
    from stages.evidence.backends.chat import pillow_images

    return pillow_images((picture,))


def counter_for(folder: Path | None) -> Counter:
    """The processor of the model in `folder`; an estimate where there is none that loads."""
    if folder is None:
        return Estimate()
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError):
        return Estimate()
    return ByProcessor(processor, folder)
