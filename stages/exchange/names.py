"""Which names in an archive are which files of a submission, even if there are folders too many or too few."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from stages.core.records import Split, Video
from stages.core.spelling import nfc
from stages.exchange.layouts import Entry, ZipLayout

DEEPEST = 3  # most folders around a submission that are recognised
LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")  # what desktop systems put into zips and folders


@dataclass(frozen=True)
class Expected:
    """One PNG that a submission needs, and the (height, width) it must have; None = not known."""

    entry: Entry
    size: tuple[int, int] | None


def expected_of(
    layout: ZipLayout, split: Split, video: Video, names: Sequence[str], size: tuple[int, int] | None
) -> dict[str, Expected]:
    """Path → what must be stored there, for one video with frames called `names`; raises as `ZipLayout.entries`."""
    return {entry.path: Expected(entry, size) for entry in layout.entries(video, names, split.scored_frames(video))}


@dataclass
class Matching:
    """What an archive's names mean.

    Attributes:
        found: path of the submission → name in the archive.
        duplicates: names that mean a path which another name already means.
        surplus: names that mean nothing.
        shifts: what is wrong with the folders, in words that are the same for all files of a kind → the names.
    """

    found: dict[str, str] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    shifts: dict[str, list[str]] = field(default_factory=dict)


def match(names: Iterable[str], expected: Mapping[str, Expected], layout: ZipLayout) -> Matching:
    """Matches names to the paths of a submission; names in their place come before displaced ones."""
    matching, others = Matching(), []
    path_of = {nfc(path): path for path in expected}
    for name in names:
        path = path_of.get(nfc(name))
        if path is None:
            others.append(name)
        elif path in matching.found:
            matching.duplicates.append(name)
        else:
            matching.found[path] = name
    for name in others:
        displaced, shift = _displaced(nfc(name), path_of, layout.top)
        path = None if displaced is None else path_of[displaced]
        if path is None:
            matching.surplus.append(name)
            continue
        matching.shifts.setdefault(shift, []).append(name)
        if path in matching.found:
            matching.duplicates.append(name)
        else:
            matching.found[path] = name
    if not matching.found and matching.surplus:
        _recognise_lost_folders(matching, expected, layout)
    return matching


def is_litter(name: str) -> bool:
    """Whether a desktop system left it, so that it need not be listed."""
    parts = name.split("/")
    return parts[-1].startswith("._") or not set(parts).isdisjoint(LITTER)


def _displaced(name: str, expected: Collection[str], top: str) -> tuple[str | None, str]:
    """The path that a displaced file should have, and what is wrong with it in words."""
    parts = name.split("/")
    for n in range(1, min(DEEPEST, len(parts) - 1) + 1):
        prefix, rest = "/".join(parts[:n]), "/".join(parts[n:])
        if rest in expected:
            return rest, f"{_folders(n)} too deep: take {prefix!r} away"
        if top and f"{top}/{rest}" in expected:
            return f"{top}/{rest}", f"in the wrong folder: rename {prefix!r} to {top!r}"
    if top and f"{top}/{name}" in expected:
        return f"{top}/{name}", f"one folder too shallow: put everything into a folder {top!r}"
    return None, ""


def _recognise_lost_folders(matching: Matching, expected: Collection[str], layout: ZipLayout) -> None:
    """Files whose folder of the first level (below `top`) is missing: they cannot be matched, but the user can be told."""
    depth = 1 + bool(layout.top)
    tails = {"/".join(PurePosixPath(path).parts[depth:]) for path in expected}
    lost = [name for name in matching.surplus if name in tails]
    if lost:
        shift = f"one folder too shallow: the folder of the video is missing; the layout is {layout.pattern}"
        matching.shifts[shift] = lost
        matching.surplus = [name for name in matching.surplus if name not in tails]


def _folders(n: int) -> str:
    return "one folder" if n == 1 else f"{n} folders"
