"""Checks any submission zip against a split: names, places, modes, sizes and values of all masks.

The archive is never unpacked. Entries that would leave its folder, links, encrypted ones and ones that
declare more bytes than a mask can have are refused unread; a PNG's header is compared before its pixels
are decoded.
"""

import os
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from stages.exchange import judge
from stages.exchange.archives import UNREADABLE
from stages.exchange.layouts import ZipLayout
from stages.exchange.names import Expected, Matching, match
from stages.exchange.png import look

UNKNOWN_SIZE_LIMIT = 64 << 20  # bytes of an entry where the frame's size is not known
BATCH, AT_ONCE = 32, 8  # entries that a thread takes at once, and how many such batches are in progress

# Kinds of defects, in the order they are printed.
KINDS = ("archive", "folders", "missing", "surplus", "duplicate", "refused", "unreadable", "mode", "size", "values")


@dataclass
class Report:
    """The outcome of a check; `defects` maps each kind to one line per defect."""

    archive: str
    layout: str
    expected: int = 0
    found: int = 0
    sound: int = 0
    unknown_sizes: int = 0
    defects: dict[str, list[str]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.defects

    def add(self, kind: str, line: str) -> None:
        assert kind in KINDS
        self.defects.setdefault(kind, []).append(line)

    def as_json(self, show: int) -> dict[str, Any]:
        """Counts of everything, and the first `show` defects of each kind."""
        return {
            "archive": self.archive,
            "layout": self.layout,
            "ok": self.ok,
            "counts": {
                "expected": self.expected,
                "found": self.found,
                "sound": self.sound,
                "size_unknown": self.unknown_sizes,
                **{kind: len(lines) for kind, lines in self.defects.items()},
            },
            "defects": {kind: lines[:show] for kind, lines in self.defects.items()},
        }


def choose_layout(path: Path, layouts: Sequence[tuple[ZipLayout, Mapping[str, Expected]]]) -> int:
    """The index of the layout that most names of the zip fit; 0 where none fits or it is no zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.filename.endswith("/")]
    except UNREADABLE:
        return 0
    hits = [len(match(names, expected, layout).found) for layout, expected in layouts]
    return hits.index(max(hits))


def check_zip(path: Path, layout: ZipLayout, expected: Mapping[str, Expected]) -> Report:
    """The report of one zip; what is wrong with it is a defect, never an exception.

    Raises:
        OSError: the file cannot be opened at all.
    """
    report = Report(str(path), layout.name, expected=len(expected))
    report.unknown_sizes = sum(one.size is None for one in expected.values())
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except UNREADABLE as error:
            report.add("archive", f"is no readable zip ({error})")
            return report
        with archive:
            _check_archive(archive, layout, expected, report)
    return report


def _check_archive(
    archive: zipfile.ZipFile, layout: ZipLayout, expected: Mapping[str, Expected], report: Report
) -> None:
    infos: dict[str, zipfile.ZipInfo] = {}
    names = []
    for info in archive.infolist():
        if info.filename.endswith("/"):  # `is_dir` fails on a damaged entry without a name
            continue
        reason = _refusal(info)
        if reason:
            report.add("refused", f"{info.filename!r} {reason}")
            continue
        names.append(info.filename)
        infos.setdefault(info.filename, info)
    matching = match(names, expected, layout)
    report.found = len(matching.found)
    _report_names(matching, expected, report)
    _check_masks(archive, layout, expected, {path: infos[name] for path, name in matching.found.items()}, report)


def _refusal(info: zipfile.ZipInfo) -> str:
    """Why an entry is refused unread; "" for a harmless one."""
    parts = info.filename.split("/")
    if not info.filename:
        return "has no name"
    if info.filename.startswith("/") or ".." in parts or ":" in parts[0]:
        return "leaves the folder it is unpacked in"
    if "\\" in info.filename:
        return "has backslashes in its name; zip with '/' between folders"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a symbolic link"
    return "is encrypted" if info.flag_bits & 1 else ""


def _report_names(matching: Matching, expected: Mapping[str, Expected], report: Report) -> None:
    for shift, names in matching.shifts.items():
        report.add("folders", f"{len(names)} files are {shift} (first: {names[0]!r})")
    for path in expected:
        if path not in matching.found:
            report.add("missing", path)
    for name in matching.surplus:
        report.add("surplus", name)
    for name in matching.duplicates:
        report.add("duplicate", name)


def _check_masks(
    archive: zipfile.ZipFile,
    layout: ZipLayout,
    expected: Mapping[str, Expected],
    infos: Mapping[str, zipfile.ZipInfo],
    report: Report,
) -> None:
    """Reads and looks in threads (what decodes releases the interpreter's lock); a bounded number of entries at once."""
    work = partial(_mask_defects, archive, layout, expected, infos)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        batches = _batches([path for path in expected if path in infos], BATCH)
        while some := list(islice(batches, AT_ONCE)):
            for batch, defects in zip(some, pool.map(work, some), strict=True):
                for path, defect in zip(batch, defects, strict=True):
                    if defect is None:
                        report.sound += 1
                    else:
                        report.add(defect[0], f"{infos[path].filename}: {defect[1]}")


def _batches(paths: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (paths[start : start + size] for start in range(0, len(paths), size))


Defect = tuple[str, str] | None


def _mask_defects(
    archive: zipfile.ZipFile,
    layout: ZipLayout,
    expected: Mapping[str, Expected],
    infos: Mapping[str, zipfile.ZipInfo],
    paths: Sequence[str],
) -> list[Defect]:
    return [_mask_defect(archive, layout, expected[path], infos[path]) for path in paths]


def _mask_defect(archive: zipfile.ZipFile, layout: ZipLayout, expected: Expected, info: zipfile.ZipInfo) -> Defect:
    size = expected.size
    limit = UNKNOWN_SIZE_LIMIT if size is None else 8 * size[0] * size[1] + (1 << 20)  # 16-bit RGBA, uncompressed
    if info.file_size > limit:
        return "refused", f"declares {info.file_size} bytes, more than any mask of its frame can have"
    try:
        data = archive.read(info)
    except UNREADABLE as error:
        return "unreadable", str(error)
    return png_defect(data, size, layout.mode, tuple(expected.entry.labels))


@lru_cache(maxsize=256)  # absent objects repeat from frame to frame
def png_defect(data: bytes, size: tuple[int, int] | None, mode: str, values: tuple[int, ...]) -> Defect:
    """What is wrong with one mask PNG, as (kind, words); None for a sound one.

    Those that we write are looked at run by run; all others, and those that are not sound, are decoded.

    Args:
        size: (height, width) it must have; None = unknown.
        mode: "L" or "P".
        values: what its pixels may be besides 0.
    """
    shown = look(data)
    if shown and shown.mode == mode and shown.size == (size or shown.size) and set(shown.values) <= set(values):
        return None
    try:
        judge.judge(data, size, judge.submitted(mode, values))
    except judge.Defect as defect:
        return defect.kind, defect.words
    return None
