"""Answers in words from a model that runs here: the most probable token again and again, several questions together.

Legend: B questions, L tokens of a chat, V vocabulary.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stages.evidence.backends.chat import Chats
from stages.evidence.backends.completion import TopToken
from stages.evidence.backends.marks import choices_in
from stages.evidence.questions import Question, Written

if TYPE_CHECKING:
    import torch

TOP = 20  # most probable tokens that are kept per place, as a server gives them


class TopTokens:
    """Keeps the most probable tokens of every step: a logits processor that changes nothing.

    Attributes:
        steps: per step (B, TOP) log-probabilities and tokens, on the CPU.
    """

    def __init__(self) -> None:
        self.steps: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        log_chance_BV = scores.float().log_softmax(dim=-1)
        values_BK, tokens_BK = log_chance_BV.topk(min(TOP, scores.shape[-1]), dim=-1)
        self.steps.append((values_BK.cpu(), tokens_BK.cpu()))
        return scores


def write(model: Any, chats: Chats, questions: Sequence[Question], where: str) -> list[Written]:
    """Answers to questions that allow the same number of tokens, in one batch.

    Raises:
        ValueError: the model's logits are not finite.
    """
    import torch
    from transformers import LogitsProcessorList

    [most] = {question.answer_tokens for question in questions}
    with torch.inference_mode():
        inputs = chats.prepare(questions).to(model.device, model.dtype)
        top = TopTokens()
        ids_BL = model.generate(
            **inputs,
            max_new_tokens=most,
            do_sample=False,
            num_beams=1,
            logits_processor=LogitsProcessorList([top]),
        )
    if any(not torch.isfinite(values_BK[:, 0]).all() for values_BK, _ in top.steps):
        raise ValueError(
            f"{where}: logits are not finite; set precision to float32 in its entry of `evidence`, or check the weights"
        )
    answers_BL = ids_BL[:, inputs["input_ids"].shape[1] :].tolist()
    return [_written(chats.processor.tokenizer, answers_BL[b], top, b, questions[b]) for b in range(len(questions))]


def _written(tokenizer: Any, ids: Sequence[int], top: TopTokens, b: int, question: Question) -> Written:
    special = set(tokenizer.all_special_ids)
    end = next((n for n, token in enumerate(ids) if token in special), len(ids))
    text = str(tokenizer.decode(ids[:end], skip_special_tokens=True))

    def top_at(step: int) -> list[TopToken]:
        values_K, tokens_K = (of_step[b].tolist() for of_step in top.steps[step])
        likely = zip(tokens_K, values_K, strict=True)
        return [TopToken(token=tokenizer.decode([token]), logprob=min(value, 0.0)) for token, value in likely]

    pieces = [str(tokenizer.decode([token])) for token in ids[:end]]
    return Written(text, choices_in(text, pieces, top_at, question.options))
