"""Where a native tensor comes from in a published checkpoint: a name, and for joined tensors some of its rows."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Every pair is applied once, in this order, to a native name.
Renaming = Sequence[tuple[re.Pattern[str], str]]


@dataclass(frozen=True)
class Origin:
    """A published tensor, or some rows of it.

    Attributes:
        name: of the published tensor.
        take: the rows that the native tensor is made of; None = all. Native tensors of one published tensor take each of its
            rows once.
    """

    name: str
    take: "Callable[[Tensor], Tensor] | None" = None


def renaming(*pairs: tuple[str, str]) -> Renaming:
    """Regular expressions of native names, with what replaces each."""
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


def renamed(pairs: Renaming, name: str) -> str:
    for pattern, replacement in pairs:
        name = pattern.sub(replacement, name)
    return name


def third(index: int) -> "Callable[[Tensor], Tensor]":
    """Of a joint projection of queries, keys and values: its equal parts by rows."""
    return partial(_third, index)


def _third(index: int, joint: "Tensor") -> "Tensor":
    return joint.chunk(3)[index]


def grouped(part: str, heads: int, groups: int) -> "Callable[[Tensor], Tensor]":
    """Of InternLM2's joint projection: for each of `groups` key/value heads, heads/groups queries, a key and a value.

    Args:
        part: "q", "k" or "v".
    """
    return partial(_grouped, part, heads, groups)


def _grouped(part: str, heads: int, groups: int, joint: "Tensor") -> "Tensor":
    """(rows, …) → the rows of one part; rows = groups · (heads/groups + 2) · width of a head."""
    queries = heads // groups
    per_group = joint.unflatten(0, (groups, queries + 2, -1))
    chosen = {"q": per_group[:, :queries], "k": per_group[:, -2], "v": per_group[:, -1]}[part]
    return chosen.flatten(0, 1 if part != "q" else 2)
