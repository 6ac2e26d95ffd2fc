"""What several questions begin with is encoded once: its keys and values go before what is each question's own.

There are two levels: the context of a video or expression, and what leads each question, as the block of a candidate.
The head of the chats is cut behind the last control token that all questions have, where no tokenizer joins what stands
on both sides; words behind it follow as tokens. A model that cannot go on from a cache, or whose positions come out
otherwise, is noticed by its first answers, and gets whole passes from then on.

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
PartsKey = tuple[tuple[bool, str], ...]
REORDERED = "its chat template puts something before what was there"
PER_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")  # tensors of shape BL
GRIDS = "image_grid_thw"  # of images, in rows: what M-RoPE's positions are computed from
# What may follow, to see which tokens before it stay the same whatever follows.
FOLLOWING = ("x", "\n", " 1")


class Unshareable(Exception):
    """This model's questions cannot share what they begin with."""


class Joined(Unshareable):
    """These questions cannot, since a token goes over the end of it."""


@dataclass(frozen=True)
class Prefix:
    """What questions begin with, encoded.

    Attributes:
        parts: how many of a question's parts it is.
        head: the beginning of the chats that its pictures stand in.
        after: tokens behind the head that belong to the prefix as well.
        inputs: the processor's tensors of head and `after`, for one question, without the pixels.
        cache: keys and values of the model's layers, for one question; not to be changed.
    """

    parts: int
    head: str
    after: tuple[int, ...]
    inputs: dict[str, Any]
    cache: Any

    @property
    def length(self) -> int:
        return self.inputs["input_ids"].shape[1] if self.inputs else 0


NOTHING = Prefix(0, "", (), {}, None)


class PrefixPasses:
    """Forward passes over questions with one beginning.

    Args:
        extra: keyword arguments of every pass.
    """

    def __init__(self, model: Any, chats: Chats, extra: dict[str, Any]) -> None:
        self.model, self.chats, self.extra = model, chats, extra
        self._kept: list[tuple[PartsKey, Prefix]] = []  # the last context, then the last lead behind it

    def logits(self, questions: Sequence[Question], with_lead: bool = False) -> "torch.Tensor":
        """[B, V] of the token that would come next, for questions of one context. What is encoded is kept for the next.

        Args:
            with_lead: they have one lead, too: all but the last of the parts that were asked.

        Raises:
            Unshareable: a question does not begin as the others; Joined where only these do not.
        """
        lead = questions[0].asked[:-1] if with_lead else ()
        prefix = self._prefix([level for level in (questions[0].context, lead) if level])
        tails = self._tails(prefix, questions)
        inputs = self._joined(prefix, tails, [question.parts[prefix.parts :] for question in questions])
        return self._forward(prefix, inputs, len(questions)).logits[:, -1]

    def forget(self) -> None:
        """Frees the memory of what was kept."""
        self._kept = []

    def _prefix(self, levels: Sequence[Parts]) -> Prefix:
        prefix: Prefix = NOTHING
        whole: Parts = ()
        for depth, parts in enumerate(levels):
            whole, key = whole + parts, parts_key(parts)
            if [kept for kept, _ in self._kept[depth : depth + 1]] != [key]:
                del self._kept[depth:]  # frees its memory first
                self._kept.append((key, self._encode(prefix, whole)))
            prefix = self._kept[depth][1]
        return prefix

    def _encode(self, before: Prefix, parts: Parts) -> Prefix:
        """The prefix of all `parts`, going on from what is encoded of them."""
        texts = [self.chats.text_of((*parts, following)) for following in FOLLOWING]
        head = cut_behind_control("".join(common_start(texts)), self.chats.control)
        if not head.startswith(before.head):
            raise Unshareable(REORDERED)
        rests = [self._tensors(head, [text[len(head) :]], [()]) for text in texts]
        after = common_start([rest["input_ids"][0].tolist() for rest in rests])
        own = {name: rests[0][name][:, : len(after)] for name in _per_token(rests[0])}
        if piece := head[len(before.head) :]:
            begun = self._tensors(before.head, [piece], [parts[before.parts :]])
            own = begun | _cat(begun, own)
        own = _behind(before, own)
        if not own["input_ids"].shape[1]:
            raise Unshareable("its chats have nothing to share")
        whole = _grown(before, own)
        cache = self._forward(before, self._joined(before, own, [parts[before.parts :]]), 1).past_key_values
        return Prefix(len(parts), head, tuple(after), whole, cache)

    def _forward(self, before: Prefix, inputs: dict[str, Any], count: int) -> Any:
        cache = _repeated(before.cache, count) if before.length else None
        placed = {name: self._on_device(tensor) for name, tensor in inputs.items()}
        return self.model(**placed, past_key_values=cache, use_cache=True, **self.extra)

    def _on_device(self, tensor: "torch.Tensor") -> "torch.Tensor":
        return tensor.to(self.model.device, self.model.dtype if tensor.is_floating_point() else tensor.dtype)

    def _tails(self, prefix: Prefix, questions: Sequence[Question]) -> dict[str, Any]:
        """What comes after the prefix, left-padded."""
        texts = [self.chats.text_of(question.parts) for question in questions]
        if not all(text.startswith(prefix.head) for text in texts):
            raise Unshareable(REORDERED)
        own = [question.parts[prefix.parts :] for question in questions]
        return _behind(prefix, self._tensors(prefix.head, [text[len(prefix.head) :] for text in texts], own))

    def _joined(self, prefix: Prefix, own: dict[str, Any], parts: Sequence[Parts]) -> dict[str, Any]:
        """The tensors of a pass over what comes after a prefix; `parts` of each question is in `own`."""
        begun = {name: tensor.expand(len(parts), -1) for name, tensor in prefix.inputs.items() if name in PER_TOKEN}
        whole = (_cat(begun, own) if begun else own) | _grids(prefix.inputs, own, parts)
        return own | {"attention_mask": whole["attention_mask"]} | self._positions(whole, prefix.length)

    def _positions(self, whole: dict[str, Any], offset: int) -> dict[str, Any]:
        """position_ids of the tokens of `whole` from `offset` on: M-RoPE's where the model has it."""
        rope = getattr(getattr(self.model, "model", None), "get_rope_index", None)
        if rope is None:
            positions_BL = (whole["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            return {"position_ids": positions_BL[:, offset:]}
        takes = inspect.signature(rope).parameters.keys()
        positions_3BL = rope(**{name: tensor for name, tensor in whole.items() if name in takes})[0]
        return {"position_ids": positions_3BL[..., offset:]}

    def _tensors(self, head: str, texts: Sequence[str], parts: Sequence[Parts]) -> dict[str, Any]:
        """Of what follows the head of chats; on the CPU, where it is put together: a GPU would be waited for at every step."""
        options = {"add_special_tokens": False} if head else {}
        images = [pillow_images(each) for each in parts]
        return dict(self.chats.tensors(texts, images, **options))


def parts_key(parts: Parts) -> PartsKey:
    """Equal for parts that show and say the same."""
    return tuple((True, part.digest) if isinstance(part, Picture) else (False, part) for part in parts)


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


def _behind(prefix: Prefix, tensors: dict[str, Any]) -> dict[str, Any]:
    """Left-padded tensors of what follows a head, without the tokens that belong to the prefix.

    Raises:
        Joined: they do not begin with these tokens.
    """
    import torch

    n = len(prefix.after)
    shared_P = torch.tensor(prefix.after, dtype=torch.long, device=tensors["input_ids"].device)
    starts_B = tensors["attention_mask"].argmax(1).tolist()
    for ids_L, start in zip(tensors["input_ids"], starts_B, strict=True):
        if not torch.equal(ids_L[start : start + n], shared_P):
            raise Joined
    return tensors | {name: _without(tensors[name], starts_B, n) for name in _per_token(tensors)}


def _without(tensor_BL: "torch.Tensor", starts_B: Sequence[int], count: int) -> "torch.Tensor":
    """Each row without `count` values from its start on."""
    import torch

    rows = [
        torch.cat([row_L[:start], row_L[start + count :]]) for row_L, start in zip(tensor_BL, starts_B, strict=True)
    ]
    return torch.stack(rows)


def _grown(before: Prefix, own: dict[str, Any]) -> dict[str, Any]:
    """The tensors of a prefix and of what is added to it, without the pixels."""
    import torch

    whole = _cat(before.inputs, own) if before.inputs else {name: own[name] for name in _per_token(own)}
    grids = [tensors[GRIDS] for tensors in (before.inputs, own) if GRIDS in tensors]
    return whole | ({GRIDS: torch.cat(grids)} if grids else {})


def _grids(prefix: dict[str, Any], own: dict[str, Any], parts: Sequence[Parts]) -> dict[str, Any]:
    """Of all images, question by question: those of the prefix, then its own."""
    import torch

    shared = [prefix[GRIDS]] if GRIDS in prefix else []
    counts = [sum(isinstance(part, Picture) for part in each) for each in parts]
    split = own[GRIDS].split(counts) if GRIDS in own else [None] * len(parts)
    rows = [row for grid in split for row in (*shared, *([] if grid is None else [grid]))]
    return {GRIDS: torch.cat(rows)} if rows else {}


def _repeated(cache: Any, count: int) -> Any:
    """A copy of a cache of one question for `count` questions; `cache` stays as it is."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    copied.batch_repeat_interleave(count)
    return copied
