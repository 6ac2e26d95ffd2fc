"""A context that several questions share is encoded once: its keys and values go before what is each question's own.

The head of the chats is cut behind the last control token that all questions of a context have, where no tokenizer
joins what stands on both sides; words of the context behind it follow as tokens. A model that cannot go on from a
cache, or whose positions come out otherwise, is noticed by its first answers, and gets whole passes from then on.

Legend: B questions, L tokens, P of them in the prefix, V vocabulary.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeVar

from stages.evidence.backends.chat import Chats, pillow_images
from stages.evidence.questions import Parts, Picture, Question

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
PER_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")  # tensors of shape BL
GRIDS = "image_grid_thw"  # of images, in rows: what M-RoPE's positions are computed from
# What may follow a context, to see which of its tokens stay the same whatever follows.
FOLLOWING = ("x", "\n", " 1")


class Unshareable(Exception):
    """This model's questions cannot share a context."""


class Joined(Unshareable):
    """These questions cannot, since a token goes over the end of their context."""


@dataclass(frozen=True)
class Prefix:
    """An encoded context.

    Attributes:
        head: the beginning of the chats that its pictures stand in.
        after: tokens behind the head that belong to the prefix as well.
        inputs: the processor's tensors of head and `after`, for one question, without the pixels.
        cache: keys and values of the model's layers, for one question; not to be changed.
    """

    head: str
    after: tuple[int, ...]
    inputs: dict[str, Any]
    cache: Any


class PrefixPasses:
    """Forward passes over questions of one context.

    Args:
        extra: keyword arguments of every pass.
    """

    def __init__(self, model: Any, chats: Chats, extra: dict[str, Any]) -> None:
        self.model, self.chats, self.extra = model, chats, extra
        self._kept: tuple[Any, Prefix] | None = None

    def logits(self, questions: Sequence[Question]) -> "torch.Tensor":
        """[B, V] of the token that would come next, for questions of one context. The last context is kept.

        Raises:
            Unshareable: a question does not begin as its context does; Joined where only these do not.
        """
        prefix = self._prefix(questions[0].context)
        tails = self._tails(prefix, questions)
        inputs = self._joined(prefix, tails, questions)
        cache = _repeated(prefix.cache, len(questions))
        return self.model(**inputs, past_key_values=cache, use_cache=True, **self.extra).logits[:, -1]

    def forget(self) -> None:
        """Frees the memory of the last context."""
        self._kept = None

    def _prefix(self, context: Parts) -> Prefix:
        key = context_key(context)
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # frees its memory first
            self._kept = (key, self._encode(context))
        return self._kept[1]

    def _encode(self, context: Parts) -> Prefix:
        texts = [self.chats.text_of((*context, following)) for following in FOLLOWING]
        head = cut_behind_control("".join(common_start(texts)), self.chats.control)
        rests = [self._rest(head, [text], [()]) for text in texts]
        after = common_start([rest["input_ids"][0].tolist() for rest in rests])
        inputs = {name: rests[0][name][:, : len(after)] for name in _per_token(rests[0])}
        if head:
            begun = self._tensors([head], [context])
            inputs = begun | _cat(begun, inputs)
        cache = self.model(**inputs, **self._positions(inputs, 0), use_cache=True, **self.extra).past_key_values
        kept = {name: tensor for name, tensor in inputs.items() if name in (*PER_TOKEN, GRIDS)}
        return Prefix(head, tuple(after), kept, cache)

    def _tails(self, prefix: Prefix, questions: Sequence[Question]) -> dict[str, Any]:
        """What comes after the prefix, left-padded."""
        import torch

        texts = [self.chats.text_of(question.parts) for question in questions]
        if not all(text.startswith(prefix.head) for text in texts):
            raise Unshareable("its chat template puts something before what was there")
        tails = self._rest(prefix.head, texts, [question.asked for question in questions])
        n = len(prefix.after)
        shared_P = torch.tensor(prefix.after, device=tails["input_ids"].device)
        starts_B = tails["attention_mask"].argmax(1).tolist()
        for ids_L, start in zip(tails["input_ids"], starts_B, strict=True):
            if not torch.equal(ids_L[start : start + n], shared_P):
                raise Joined
        return tails | {name: _without(tails[name], starts_B, n) for name in _per_token(tails)}

    def _joined(self, prefix: Prefix, tails: dict[str, Any], questions: Sequence[Question]) -> dict[str, Any]:
        """The tensors of a pass over the tails."""
        count, offset = len(questions), prefix.inputs["input_ids"].shape[1]
        begun = {name: prefix.inputs[name].expand(count, -1) for name in _per_token(prefix.inputs)}
        whole = _cat(begun, tails) | _grids(prefix.inputs, tails, questions)
        return tails | {"attention_mask": whole["attention_mask"]} | self._positions(whole, offset)

    def _positions(self, whole: dict[str, Any], offset: int) -> dict[str, Any]:
        """position_ids of the tokens of `whole` from `offset` on: M-RoPE's where the model has it."""
        rope = getattr(getattr(self.model, "model", None), "get_rope_index", None)
        if rope is None:
            positions_BL = (whole["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            return {"position_ids": positions_BL[:, offset:]}
        takes = inspect.signature(rope).parameters.keys()
        positions_3BL = rope(**{name: tensor for name, tensor in whole.items() if name in takes})[0]
        return {"position_ids": positions_3BL[..., offset:]}

    def _tensors(self, texts: Sequence[str], parts: Sequence[Parts], **options: Any) -> dict[str, Any]:
        images = [pillow_images(each) for each in parts]
        return dict(self.chats.tensors(texts, images, **options).to(self.model.device, self.model.dtype))

    def _rest(self, head: str, texts: Sequence[str], parts: Sequence[Parts]) -> dict[str, Any]:
        """What follows the head of chats."""
        options = {"add_special_tokens": False} if head else {}
        return self._tensors([text[len(head) :] for text in texts], parts, **options)


def context_key(context: Parts) -> tuple[tuple[bool, str], ...]:
    """Equal for contexts that show and say the same."""
    return tuple((True, part.digest) if isinstance(part, Picture) else (False, part) for part in context)


def cut_behind_control(text: str, control: Sequence[str]) -> str:
    """`text` up to the end of its last control token; "" where it has none."""
    return text[: max((at + len(token) for token in control if (at := text.rfind(token)) >= 0), default=0)]


def common_start(sequences: Sequence[Sequence[T]]) -> list[T]:
    """What all sequences begin with."""
    together = takewhile(lambda items: all(item == items[0] for item in items), zip(*sequences, strict=False))
    return [items[0] for items in together]


def _per_token(tensors: dict[str, Any]) -> list[str]:
    return [name for name in PER_TOKEN if name in tensors]


def _cat(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Tensors per token, one after the other."""
    import torch

    return {name: torch.cat([left[name], right[name]], dim=1) for name in _per_token(left)}


def _without(tensor_BL: "torch.Tensor", starts_B: Sequence[int], count: int) -> "torch.Tensor":
    """Each row without `count` values from its start on."""
    import torch

    rows = [
        torch.cat([row_L[:start], row_L[start + count :]]) for row_L, start in zip(tensor_BL, starts_B, strict=True)
    ]
    return torch.stack(rows)


def _grids(prefix: dict[str, Any], tails: dict[str, Any], questions: Sequence[Question]) -> dict[str, Any]:
    """Of all images, question by question: those of the prefix, then its own."""
    import torch

    shared = [prefix[GRIDS]] if GRIDS in prefix else []
    counts = [sum(isinstance(part, Picture) for part in question.asked) for question in questions]
    own = tails[GRIDS].split(counts) if GRIDS in tails else [None] * len(questions)
    rows = [row for grid in own for row in (*shared, *([] if grid is None else [grid]))]
    return {GRIDS: torch.cat(rows)} if rows else {}


def _repeated(cache: Any, count: int) -> Any:
    """A copy of a cache of one question for `count` questions; `cache` stays as it is."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    copied.batch_repeat_interleave(count)
    return copied
