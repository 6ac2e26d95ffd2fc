"""A judge that runs here: any transformers image-text-to-text model from a local folder.

An option's score is the logarithm of the probability that the next token spells it, in any of its spellings.

Legend: B questions, V vocabulary.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from stages.core.backends import Backend
from stages.core.config.section import Precision, Section
from stages.core.run.batches import Batches
from stages.core.state.weights import Weights
from stages.evidence.backends.chat import Chats, OptionTokens
from stages.evidence.backends.prefix import Joined, PrefixPasses, Unshareable, parts_key
from stages.evidence.backends.writing import write
from stages.evidence.questions import Parts, Picture, Question, Reply, Written

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
ROLE = "mllm"
# How far an answer from a shared context may be from that of a whole pass, in nat. In bfloat16 any other batch is as far.
TOLERANCE = {"torch.float32": 1e-3, "torch.bfloat16": 0.3}
# One of each row must be there for a model to load.
FILES = (
    ("config.json",),
    ("processor_config.json", "preprocessor_config.json"),
    ("tokenizer.json", "tokenizer_config.json"),
    ("model.safetensors", "model.safetensors.index.json"),
)


FEWEST_OF_LEAD = 4  # below, a pass of their own costs more than it saves
T = TypeVar("T")
K = TypeVar("K")


class Sharing(Enum):
    """What neighbours begin with."""

    NOTHING = "nothing"
    CONTEXT = "context"
    LEAD = "context, and all that is asked but its last part"


class TransformersSettings(Section):
    precision: Precision = Field(description="Backend transformers: arithmetic of the model")


class LocalJudge:
    """Implements `stages.evidence.questions.Writer`. Made by `load_judge`.

    Attributes:
        sharing: whether neighbours share the encoding of what they begin with; false once a pass has shown that this model
            cannot.
    """

    def __init__(self, model: Any, processor: Any, where: str, batches: Batches) -> None:
        self.model, self.processor, self.where, self.batches = model, processor, where, batches
        self.chats = Chats(processor)
        self.tokens = OptionTokens(processor.tokenizer, where)
        takes = inspect.signature(model.forward).parameters
        self.extra = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self.prefixes = PrefixPasses(model, self.chats, self.extra)
        self.sharing = "past_key_values" in takes
        self._checked: set[tuple[Sharing, tuple[bool, ...]]] = set()

    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        """As many questions in one forward pass as `batches` allows. How they are cut into passes depends on the
        questions alone, not on what was asked before.

        Raises:
            ValueError: the model's logits are not finite; an option is not one token of the model.
        """
        replies: list[Reply] = []
        for sharing, together in cut(questions):
            compute = self.whole_pass if sharing is Sharing.NOTHING else partial(self.shared_pass, sharing)
            replies += [reply for _, part in self.batches.run(together, compute) for reply in part]
        return replies

    def write(self, questions: Sequence[Question]) -> list[Written]:
        """As many questions together as `batches` allows.

        Raises:
            ValueError: the model's logits are not finite.
        """
        written: list[Written] = []
        for _, together in grouped(questions, lambda question: question.answer_tokens):
            compute = partial(write, self.model, self.chats, where=self.where)
            written += [each for _, part in self.batches.run(together, compute) for each in part]
        return written

    def whole_pass(self, questions: Sequence[Question]) -> list[Reply]:
        """All questions in one forward pass, each from its first token on."""
        import torch

        with torch.inference_mode():
            inputs = self.chats.prepare(questions).to(self.model.device, self.model.dtype)
            logits_BV = self.model(**inputs, **self.extra, use_cache=False).logits[
                :, -1
            ]  # left-padded: −1 is the answer
            return self._replies(questions, logits_BV)

    def shared_pass(self, sharing: "Sharing", questions: Sequence[Question]) -> list[Reply]:
        """Questions with one beginning in one forward pass, from where it ends; whole where that cannot be."""
        import torch

        if self.sharing:
            try:
                with torch.inference_mode():
                    logits_BV = self.prefixes.logits(questions, with_lead=sharing is Sharing.LEAD)
                    replies = self._replies(questions, logits_BV)
                self._check(sharing, questions[0], replies[0])
                return replies
            except Joined:
                pass
            except Unshareable as error:
                self._share_no_more(str(error))
            except (AttributeError, NotImplementedError, TypeError) as error:  # of a cache or model of another make
                self._share_no_more(repr(error))
        return self.whole_pass(questions)

    def _check(self, sharing: "Sharing", question: Question, shared: Reply) -> None:
        """The first answers of every sort are compared with those of a whole pass."""
        levels = (question.context, question.asked[:-1], question.asked[-1:])
        sort = (sharing, tuple(has_picture(parts) for parts in levels))
        if sort in self._checked:
            return
        [whole] = self.whole_pass([question])
        apart = max(abs(a - b) for a, b in zip(shared.scores, whole.scores, strict=True))
        if apart > TOLERANCE[str(self.model.dtype)]:
            raise Unshareable(f"answers from a shared encoding are {apart:.2g} nat off")
        self._checked.add(sort)

    def _share_no_more(self, reason: str) -> None:
        log.warning("%s: every question is encoded from its beginning, which takes longer: %s", self.where, reason)
        self.sharing = False
        self.prefixes.forget()

    def _replies(self, questions: Sequence[Question], logits_BV: "torch.Tensor") -> list[Reply]:
        import torch

        log_chance_BV = logits_BV.float().log_softmax(dim=-1).cpu()  # one nan or inf makes all of its row nan
        if not torch.isfinite(log_chance_BV[:, 0]).all():
            raise ValueError(
                f"{self.where}: logits are not finite; set precision to float32 in its entry of `evidence`, or check the weights"
            )
        return [self._reply(question, row_V) for question, row_V in zip(questions, log_chance_BV, strict=True)]

    def _reply(self, question: Question, log_chance_V: "torch.Tensor") -> Reply:
        import torch

        scores = torch.stack([log_chance_V[ids].logsumexp(0) for ids in self.tokens.of(question.options)])
        return Reply(tuple(scores.tolist()), scores.logsumexp(0).exp().item())


def has_picture(parts: Parts) -> bool:
    return any(isinstance(part, Picture) for part in parts)


def cut(questions: Sequence[Question]) -> Iterator[tuple[Sharing, list[Question]]]:
    """(what they share, neighbours that are answered together), in order.

    A question that shares nothing with a neighbour goes through the model with others of that kind.
    """
    marked: list[tuple[Sharing, Any, Question]] = []
    for context, run in grouped(questions, lambda question: parts_key(question.context)):
        for lead, part in grouped(run, lambda question: parts_key(question.asked[:-1])):
            if lead and len(part) >= FEWEST_OF_LEAD:
                marked += [(Sharing.LEAD, (context, lead), question) for question in part]
            elif context and len(run) > 1:
                marked += [(Sharing.CONTEXT, context, question) for question in part]
            else:
                marked += [(Sharing.NOTHING, None, question) for question in part]
    for (sharing, _), together in grouped(marked, lambda mark: mark[:2]):
        yield sharing, [question for _, _, question in together]


def grouped(items: Sequence[T], key: Callable[[T], K]) -> list[tuple[K, list[T]]]:
    """Neighbours with the same key."""
    return [(of, list(group)) for of, group in groupby(items, key)]


def load_judge(folder: Path, device: str, precision: Precision, batches: Batches) -> LocalJudge:
    """Loads model and processor; nothing is downloaded and no code of the folder is run.

    Args:
        folder: in transformers layout, weights as safetensors, with a chat template.
        device: "cpu" or "cuda".
        precision: of weights and arithmetic.
        batches: how many questions are answered in one forward pass.

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
    return LocalJudge(model.to(device).eval(), processor, str(folder), batches)


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


def _load(settings: TransformersSettings, weights: Mapping[str, Weights], device: str, batches: Batches) -> LocalJudge:
    return load_judge(weights[ROLE].path, device, settings.precision, batches)


BACKEND = Backend(
    name="transformers",
    settings=TransformersSettings,
    roles=(ROLE,),
    identity=lambda settings: {"precision": settings.precision},
    per_pass=lambda settings, questions: questions,
    load=_load,
    writes=True,
)
