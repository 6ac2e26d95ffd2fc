"""How figures change with a property of the expressions: group, length of the video, objects, words, words of motion."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.metrics.protocol import Figures
from stages.metrics.protocols import protocol_of
from stages.report.entries import Entry

WORD_BINS = ((0, 3), (4, 6), (7, 10), (11, None))
MOST_WORDS = 14  # of motion that are shown
FEWEST = 3  # expressions with a word, for it to be shown


@dataclass(frozen=True)
class Part:
    """The expressions that share a property.

    Attributes:
        figures: those of the protocol; `others`: of the run that is compared, over the same expressions.
    """

    name: str
    count: int
    figures: Figures
    others: Figures | None = None


@dataclass(frozen=True)
class Cut:
    """All expressions by one property; a word's parts may overlap."""

    title: str
    about: str
    parts: Sequence[Part]


def cuts_of(entries: Sequence[Entry], protocol: str, extras: Mapping[str, Any]) -> list[Cut]:
    """The cuts that say something: those with at least two parts."""
    scored = [entry for entry in entries if entry.jf is not None]
    made = [
        _cut("Group", "as the data set names them", scored, lambda e: e.expression.group or None, protocol, extras),
        _cut("Length of the video", "frames", scored, _by_length(scored), protocol, extras),
        _cut("Objects referred to", "0: there is no target", scored, _objects, protocol, extras),
        _cut("Length of the expression", "words", scored, _words, protocol, extras),
        _cut("Words of motion", "in the expression", scored, _motion, protocol, extras),
        _by_word(scored, protocol, extras),
    ]
    return [cut for cut in made if len(cut.parts) > 1]


def figures_of(entries: Sequence[Entry], protocol: str, extras: Mapping[str, Any]) -> Figures:
    return protocol_of(protocol).figures([e.row for e in entries if e.row is not None], extras)


def _cut(
    title: str,
    about: str,
    entries: Sequence[Entry],
    name_of: Callable[[Entry], str | None],
    protocol: str,
    extras: Mapping[str, Any],
) -> Cut:
    members: dict[str, list[Entry]] = {}
    for entry in entries:
        if (name := name_of(entry)) is not None:
            members.setdefault(name, []).append(entry)
    ordered = sorted(members, key=_natural)
    return Cut(title, about, [_part(name, members[name], protocol, extras) for name in ordered])


def _part(name: str, entries: Sequence[Entry], protocol: str, extras: Mapping[str, Any]) -> Part:
    others = [e.other for e in entries if e.other_jf is not None]
    compared = protocol_of(protocol).figures([o for o in others if o is not None], {}) if others else None
    return Part(name, len(entries), figures_of(entries, protocol, extras), compared)


def _by_word(entries: Sequence[Entry], protocol: str, extras: Mapping[str, Any]) -> Cut:
    counts = Counter(word for entry in entries for word in entry.motion)
    shown = [word for word, n in sorted(counts.items(), key=lambda c: (-c[1], c[0])) if n >= FEWEST][:MOST_WORDS]
    parts = [_part(word, [e for e in entries if word in e.motion], protocol, extras) for word in shown]
    return Cut("Single words of motion", "most frequent first; all forms of a word together", parts)


def _by_length(entries: Sequence[Entry]) -> Callable[[Entry], str]:
    """Three ranges of about as many expressions each."""
    lengths = sorted(entry.frames for entry in entries)
    ends = sorted({lengths[len(lengths) * i // 3 - 1] for i in (1, 2, 3)}) if len(lengths) >= 3 else lengths[-1:]
    starts = [min(lengths, default=0), *(end + 1 for end in ends[:-1])]
    names = [str(a) if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=False)]

    def name(entry: Entry) -> str:
        return next(name for name, end in zip(names, ends, strict=False) if entry.frames <= end)

    return name


def _objects(entry: Entry) -> str | None:
    return None if entry.objects is None else str(entry.objects) if entry.objects < 4 else "4 or more"


def _words(entry: Entry) -> str:
    for low, high in WORD_BINS:
        if high is not None and entry.words <= high:
            return f"{max(low, 1)}–{high}"
    return f"{WORD_BINS[-1][0]} or more"


def _motion(entry: Entry) -> str:
    return "some" if entry.motion else "none"


def _natural(name: str) -> tuple[int, str]:
    """By the number that a name begins with, others by alphabet behind them."""
    digits = name.split("–")[0].split(" ")[0]
    return (int(digits), "") if digits.isdigit() else (1 << 30, name)
