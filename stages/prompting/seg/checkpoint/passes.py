"""Passes over several requests about the same images: what they begin with is read once.

Legend: B requests, L tokens, P of them shared by all, T of a request alone (left-padded), D width, R rows of positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.prompting.seg.checkpoint.language import Ids, LanguageSide, Output, Seen


@dataclass(frozen=True)
class Read:
    """Sequences after a pass.

    Attributes:
        output: of the tokens that are not shared.
        offsets: where output's first column is in each sequence; negative for padding.
        next_RB: positions of the tokens that would follow.
        mask_BL: which of all tokens count; None = all.
    """

    output: Output
    offsets: tuple[int, ...]
    next_RB: Tensor
    mask_BL: Tensor | None


def groups(side: LanguageSide, sequences: Sequence[Ids], wanted: int) -> tuple[int, list[list[int]]]:
    """How many tokens sequences share, and which go through the decoder together: all, or each alone where they share none.

    Args:
        wanted: the first token whose state is wanted: it is not among the shared ones.
    """
    shared = min(_shared(side, sequences), wanted)
    every = list(range(len(sequences)))
    return shared, [every] if shared else [[row] for row in every]


def read(side: LanguageSide, seen: Seen, sequences: Sequence[Ids], shared: int) -> Read:
    """One pass over sequences about the same images.

    Args:
        shared: how many tokens all of them begin with, which go through the decoder once; > 0 for several sequences.
    """
    assert shared or len(sequences) == 1
    positions = [side.positions(ids, seen) for ids in sequences]
    prefix = _prefix(side, seen, sequences[0][:shared], positions[0][:, :shared], len(sequences)) if shared else None
    tails = [ids[shared:] for ids in sequences]
    width = max(map(len, tails))
    pad = side.tokenizer.pad_token_id or 0
    ids_BT = torch.tensor([[pad] * (width - len(tail)) + tail for tail in tails], device=side.device)
    rows = [_padded(row[:, shared:], width) for row in positions]
    mask_BL = None
    if any(len(tail) < width for tail in tails):
        real = [[1] * shared + [0] * (width - len(tail)) + [1] * len(tail) for tail in tails]
        mask_BL = torch.tensor(real, device=side.device)
    output = side.run(seen, ids_BT, torch.stack(rows, dim=1), mask_BL, prefix)
    offsets = tuple(len(ids) - width for ids in sequences)
    next_RB = torch.stack([row.max().expand(len(row)) + 1 for row in positions], dim=1)
    return Read(output, offsets, next_RB, mask_BL)


def _shared(side: LanguageSide, sequences: Sequence[Ids]) -> int:
    """Tokens that all sequences begin with, if all image tokens are among them and something is left of each."""
    if len(sequences) == 1:
        return 0
    limit = min(map(len, sequences)) - 1
    first = sequences[0]
    count = next((i for i in range(limit) if any(ids[i] != first[i] for ids in sequences)), limit)
    return 0 if any(side.image_id in ids[count:] for ids in sequences) else count


def _prefix(side: LanguageSide, seen: Seen, ids: Ids, positions_RP: Tensor, count: int) -> Any:
    """Keys and values of the shared tokens, for `count` sequences."""
    ids_1P = torch.tensor([ids], device=side.device)
    cache = side.run(seen, ids_1P, positions_RP[:, None], None, None).cache
    cache.batch_repeat_interleave(count)
    return cache


def _padded(positions_RT: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(positions_RT, (width - positions_RT.shape[1], 0))
