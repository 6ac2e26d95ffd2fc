"""Where the options stand in a written answer, and how probable each of them was there.

An option may be several tokens, as "un" and "certain": the token that it begins with is looked at, and all tokens that
any option can begin with, after what the token holds before it (a blank, a quotation mark), speak for that option.
"""

import re
from collections.abc import Callable, Sequence

from stages.evidence.backends.completion import TopToken, readable, weighed
from stages.evidence.questions import Choice


def choices_in(
    text: str, tokens: Sequence[str], top: Callable[[int], Sequence[TopToken]], options: Sequence[str]
) -> tuple[Choice, ...]:
    """The places of the options in an answer.

    Args:
        text: the answer.
        tokens: of the answer; where they are not the text cut in pieces, no place is known.
        top: index of a token → the most probable tokens in its place.
        options: that do not begin with each other.
    """
    pieces = [readable(token) for token in tokens]
    shift = "".join(pieces).find(text)
    if shift < 0 or not text or not options:
        return ()
    choices = []
    for match in re.finditer("|".join(rf"\b{re.escape(option)}\b" for option in options), text, re.IGNORECASE):
        index, before = _covering(pieces, shift + match.start())
        named = [TopToken(token=_named(readable(t.token), before, options), logprob=t.logprob) for t in top(index)]
        if named:
            choices.append(Choice(match.start(), weighed(named, options)))
    return tuple(choices)


def _covering(pieces: Sequence[str], place: int) -> tuple[int, str]:
    """The piece that holds a character, and what it holds before it."""
    end = 0
    for index, piece in enumerate(pieces):
        start, end = end, end + len(piece)
        if place < end:
            return index, piece[: place - start]
    raise AssertionError("the text is in the pieces")


def _named(piece: str, before: str, options: Sequence[str]) -> str:
    """The option that a token begins; the token itself, out of all options, where it begins none."""
    rest = piece[len(before) :].casefold() if piece.startswith(before) else ""
    for option in options:
        wanted = option.casefold()
        if rest and (wanted.startswith(rest) or re.match(rf"{re.escape(wanted)}(?!\w)", rest)):
            return option
    return f"{piece} (another)"
