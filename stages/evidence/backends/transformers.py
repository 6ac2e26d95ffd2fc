"""A judge that runs here: any transformers image-text-to-text model from a local folder.

One forward pass; the score is logsumexp(yes variants) − logsumexp(no variants) at the next token.

Legend: B questions, L tokens, V vocabulary.
"""

import inspect
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.config.section import Precision
from stages.evidence.questions import Question, Reply

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
YES = ("yes", "Yes", "YES", " yes", " Yes", " YES")
NO = ("no", "No", "NO", " no", " No", " NO")
# One of each row must be there for a model to load.
FILES = (
    ("config.json",),
    ("processor_config.json", "preprocessor_config.json"),
    ("tokenizer.json", "tokenizer_config.json"),
    ("model.safetensors", "model.safetensors.index.json"),
)


class LocalJudge:
    """Implements `stages.evidence.questions.Judge`. Made by `load_judge`."""

    def __init__(self, model: Any, processor: Any, where: str) -> None:
        self.model, self.processor, self.where = model, processor, where
        self.yes = answer_tokens(processor.tokenizer, YES, where)
        self.no = answer_tokens(processor.tokenizer, NO, where)
        takes = inspect.signature(model.forward).parameters
        self.options = {"use_cache": False} | ({"logits_to_keep": 1} if "logits_to_keep" in takes else {})

    def log_odds(self, questions: Sequence[Question]) -> list[Reply]:
        """All questions in one forward pass.

        Raises:
            ValueError: the model's logits are not finite.
        """
        import torch

        with torch.inference_mode():
            inputs = self.prepare(questions).to(self.model.device, self.model.dtype)
            logits_BV = self.model(**inputs, **self.options).logits[:, -1].float()  # left-padded: −1 is the answer
            return self._replies(logits_BV)

    def prepare(self, questions: Sequence[Question]) -> Any:
        """The processor's tensors for a batch of chats, left-padded."""
        from PIL import Image

        text = [
            self.processor.apply_chat_template(self._chat(question), tokenize=False, add_generation_prompt=True)
            for question in questions
        ]
        images = [[Image.fromarray(picture.pixels_HW3) for picture in question.pictures] for question in questions]
        return self.processor(text=text, images=images, padding=True, padding_side="left", return_tensors="pt")

    def _chat(self, question: Question) -> list[dict[str, Any]]:
        text = defuse(question.text, control_tokens(self.processor.tokenizer))
        content = [*({"type": "image"} for _ in question.pictures), {"type": "text", "text": text}]
        return [{"role": "user", "content": content}]

    def _replies(self, logits_BV: "torch.Tensor") -> list[Reply]:
        import torch

        chance_BV = logits_BV.log_softmax(dim=-1)  # one nan or inf makes all of its row nan
        yes_B, no_B = chance_BV[:, self.yes].logsumexp(-1), chance_BV[:, self.no].logsumexp(-1)
        mass_B = torch.logaddexp(yes_B, no_B).exp()
        if not torch.isfinite(yes_B - no_B).all():
            raise ValueError(
                f"{self.where}: logits are not finite; set precision to float32 in its entry of `evidence`, or check the weights"
            )
        return [Reply(*pair) for pair in zip((yes_B - no_B).tolist(), mass_B.tolist(), strict=True)]


def load_judge(folder: Path, device: str, precision: Precision) -> LocalJudge:
    """Loads model and processor; nothing is downloaded and no code of the folder is run.

    Args:
        folder: in transformers layout, weights as safetensors, with a chat template.
        device: "cpu" or "cuda".
        precision: of weights and arithmetic.

    Raises:
        ValueError: a file is missing, cannot be read, or does not fit the model; names it.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor

    check_folder(folder)
    here = {"local_files_only": True, "trust_remote_code": False}
    mismatches = {"ignore_mismatched_sizes": True, "output_loading_info": True}  # refused by name below
    try:
        processor = AutoProcessor.from_pretrained(folder, **here)
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder, use_safetensors=True, dtype=getattr(torch, precision), **mismatches, **here
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        raise ValueError(
            f"{folder}: does not load as an image-text-to-text model ({error}); fetch its weights again"
        ) from error
    check_processor(processor, folder)
    check_report(report, folder)
    return LocalJudge(model.to(device).eval(), processor, str(folder))


def check_folder(folder: Path) -> None:
    """Raises ValueError naming the first file that a model needs and `folder` lacks."""
    for names in FILES:
        if not any((folder / name).is_file() for name in names):
            raise ValueError(f"{folder / names[0]}: missing; fetch the MLLM's weights again, or correct its `path`")


def check_processor(processor: Any, folder: Path) -> None:
    if getattr(processor, "image_processor", None) is None or getattr(processor, "tokenizer", None) is None:
        raise ValueError(f"{folder / 'processor_config.json'}: describes no processor of images and text")
    if not processor.chat_template:
        raise ValueError(f"{folder / 'chat_template.jinja'}: missing; the MLLM must be an instruct model")


def check_report(report: dict[str, Any], folder: Path) -> None:
    """A model that is partly random must not judge."""
    for kind in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, report.get(kind, ()))):
            raise ValueError(f"{folder}: {len(names)} {kind.replace('_', ' ')} in the weights, first {names[0]}")
    if names := sorted(map(str, report.get("unexpected_keys", ()))):
        log.warning("%s: %d weights are not used, first %s", folder, len(names), names[0])


def answer_tokens(tokenizer: Any, variants: Sequence[str], where: str) -> list[int]:
    """Ids of the variants that are one token, each once.

    Raises:
        ValueError: none is one token.
    """
    coded = {variant: tokenizer.encode(variant, add_special_tokens=False) for variant in variants}
    tokens = sorted({ids[0] for ids in coded.values() if len(ids) == 1 and ids[0] != tokenizer.unk_token_id})
    if not tokens:
        raise ValueError(
            f"{where}: none of the answers {', '.join(map(repr, variants))} is one token of its tokenizer; "
            "choose an MLLM whose vocabulary has them"
        )
    return tokens


def control_tokens(tokenizer: Any) -> list[str]:
    return [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]


def defuse(text: str, control: Sequence[str]) -> str:
    """Breaks control tokens that stand in an expression: they are words there, not images or turns."""
    for token in control:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
