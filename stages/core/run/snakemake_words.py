"""Puts the words of a command line in order for snakemake: its options with their values, then the targets.

Some of snakemake's options take every word that follows (`--resources gpu=4 results/mevis/valid_u`), so that a target
after them is lost. Here a word that looks like a target ends such an option.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stages.core.config.loading import nearest

Nargs = int | str | None  # argparse's: None = one value, "?" = none or one, "*" and "+" = greedy

# Options with optional values that may be files: the first word after them is a value of theirs.
OF_FILES = ("-R", "--forcerun", "--wait-for-files")


@dataclass(frozen=True)
class Option:
    """One option as it was typed.

    Attributes:
        name: without a value: "--cores" of "--cores=8", "-c" of "-c8".
        words: what is handed on to snakemake.
        values: what it was given.
    """

    name: str
    words: tuple[str, ...]
    values: tuple[str, ...]


class _Action(Protocol):
    option_strings: Sequence[str]
    nargs: Nargs


def snakemake_options() -> dict[str, Nargs]:
    """Every option of the installed snakemake and its plugins, and how many values it takes."""
    from snakemake.cli import get_argument_parser

    actions: Sequence[_Action] = get_argument_parser()._actions
    return {name: action.nargs for action in actions for name in action.option_strings}


def arrange(
    words: Sequence[str], known: Mapping[str, Nargs], looks_like_target: Callable[[str], bool]
) -> tuple[list[Option], list[str]]:
    """The options in their order, and the targets in theirs. What follows "--" is a target.

    Args:
        words: as typed, without the program.
        known: every option → how many values it takes.
        looks_like_target: ends an option that may take more words.

    Raises:
        ValueError: an option that snakemake does not have.
    """
    options: list[Option] = []
    targets: list[str] = []
    i = 0
    while i < len(words):
        word = words[i]
        i += 1
        if word == "--":
            return options, targets + list(words[i:])
        if not word.startswith("-"):
            targets.append(word)
            continue
        name, inline, nargs = _read_option(word, known)
        n = 0 if inline else _count_values(words[i:], nargs, name in OF_FILES, looks_like_target)
        values = tuple(words[i : i + n])
        options.append(Option(name, (word, *values), inline or values))
        i += n
    return options, targets


def _count_values(
    rest: Sequence[str], nargs: Nargs, first_is_own: bool, looks_like_target: Callable[[str], bool]
) -> int:
    """How many of the words that follow belong to an option."""
    if isinstance(nargs, int):
        least = most = nargs
    else:
        least, most = {None: (1, 1), "?": (0, 1), "*": (int(first_is_own), len(rest)), "+": (1, len(rest))}[nargs]
    n = 0
    while n < min(most, len(rest)) and not rest[n].startswith("-"):
        if n >= least and looks_like_target(rest[n]):
            break
        n += 1
    return n


def _read_option(word: str, known: Mapping[str, Nargs]) -> tuple[str, tuple[str, ...], Nargs]:
    """Name, the value inside the word, and how many values the option takes; argparse's abbreviations are understood."""
    name, equals, value = word.partition("=")
    if word in known:
        return word, (), known[word]
    if not word.startswith("--"):
        return _read_short(word, known)
    full = [name] if name in known else [option for option in known if option.startswith(name)]
    if not full:
        raise ValueError(f"snakemake has no option {name}{nearest(name, known)}")
    return full[0], (value,) if equals else (), known[full[0]]


def _read_short(word: str, known: Mapping[str, Nargs]) -> tuple[str, tuple[str, ...], Nargs]:
    """ "-c8", or several without values in one, as "-np"."""
    for i, letter in enumerate(word[1:], start=1):
        name = f"-{letter}"
        if name not in known:
            raise ValueError(f"snakemake has no option {name}{nearest(word, known)}")
        if known[name] != 0:
            inside = word[i + 1 :].removeprefix("=")
            return name, (inside,) if inside else (), known[name]
    return word, (), 0
