"""Damaged index and mask files, thrown at every reader through `check_split`: nothing but findings may come out.

What a file *means* is what its format says its reader uses, read here by plain means. Of every damage:

  - no exception, and no hang (a case of 20 s);
  - a file that has no meaning any more is named in a finding;
  - if nothing new is found, then the records tell the meaning: they are the old ones exactly if the meaning is
    (the damage was immaterial: a comment, a checksum of something unused), and no video or expression is lost.
"""

import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.damage import damages
from support.meanings import MEANINGS
from support.trees import TREES

from stages.core.records import Split
from stages.core.tables import FORMATS
from stages.datasets.check import NO_VIDEO, Report, check_split

SEED = int(os.environ.get("FUZZ_SEED", "20261121"))  # another seed and more cases: for a longer search
CASES = int(os.environ.get("FUZZ_CASES", "100"))


@dataclass(frozen=True)
class Reading:
    """What came of a tree: findings, counts, and a digest of all records."""

    report: Report
    digest: str

    @property
    def messages(self) -> list[str]:
        return [finding.message for finding in self.report.findings]


def read(format: str, root: Path) -> Reading:
    def open_it() -> Split:
        return FORMATS[format].open_split(root, TREES[format].split, None, True)

    report = check_split(open_it)
    if any(finding.level == "error" for finding in report.findings):
        return Reading(report, "")
    return Reading(report, digest(open_it()))


def digest(split: Split) -> str:
    """Of everything a split says."""
    said = []
    for video in split.videos():
        records = (split.annotations(video), split.void(video), split.foreground(video), split.scored_frames(video))
        said.append((video.id, video.frames, video.expressions, video.location, video.span, video.defect, records))
    return hashlib.sha256(repr((split.has_truth, split.protocol, said)).encode("utf-8", "replace")).hexdigest()


class Hang(BaseException):
    """Not an Exception, so that no reader takes it for damage."""


@contextmanager
def no_hang(seconds: int = 20) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def meaning(format: str, path: Path) -> Any:
    """What the file says to its reader; None where it says nothing that can be read."""
    try:
        return MEANINGS[format](path)
    except Exception:
        return None


def complaint(format: str, root: Path, path: Path, before: Any, sound: Reading) -> str:
    """What is wrong with how the reader took the damage; "" if nothing is."""
    try:
        with no_hang():
            after = read(format, root)
    except BaseException as error:
        return f"raised {type(error).__name__}: {error}"
    now, new = meaning(format, path), [text for text in after.messages if text not in sound.messages]
    nameless = [text for text in new if str(root) not in text and text != NO_VIDEO]
    if nameless:
        return f"names no place: {nameless[0]}"
    if now is None:
        names = (str(path),) if path.exists() else (path.name, f"{path.parent}:")  # what is gone, or where it lacks
        return "" if any(name in text for text in new for name in names) else f"a broken file is not named: {new}"
    if new:
        return ""
    if (now == before) != (after.digest == sound.digest):
        return (
            "the meaning changed, the records did not" if now != before else "the records changed, the meaning did not"
        )
    lost = after.report.videos < sound.report.videos or after.report.expressions < sound.report.expressions
    return "videos or expressions are lost silently" if lost and TREES[format].counted else ""


@pytest.mark.parametrize("format", TREES)
def test_every_damage_is_named_or_listed(format: str, tmp_path: Path) -> None:
    tree, root = TREES[format], tmp_path / "set"
    tree.plant(root)
    sound = read(format, root)
    assert not sound.report.count("error") and sound.digest and sound.digest == read(format, root).digest
    targets = [path for pattern in tree.targets for path in sorted(root.glob(pattern))]
    may_go = {path for pattern in tree.optional for path in root.glob(pattern)}
    random = Random(f"{SEED} {format}")
    streams = [damages(random, path, may_go=path in may_go) for path in targets]
    complaints = []
    for case in range(CASES):
        path, stream = targets[case % len(targets)], streams[case % len(targets)]
        content, before = path.read_bytes(), meaning(format, path)
        assert before is not None
        what, damaged = next(stream)
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        wrong = complaint(format, root, path, before, sound)
        path.write_bytes(content)
        if wrong:
            complaints.append(f"case {case}: {path.relative_to(root)}: {what}: {wrong}")
    assert not complaints, "\n".join(complaints)
    assert read(format, root).digest == sound.digest


def test_there_are_enough_cases() -> None:
    assert set(TREES) == set(FORMATS) and CASES * len(TREES) >= 300


@pytest.mark.parametrize("format", TREES)
def test_files_in_each_others_place_are_noticed(format: str, tmp_path: Path) -> None:
    """Swapped files of one kind: findings, or the records of what lies there now."""
    tree, root = TREES[format], tmp_path / "set"
    tree.plant(root)
    sound = read(format, root)
    for pattern in tree.targets:
        files = sorted(root.glob(pattern))
        for one, other in pairwise(files):
            contents = one.read_bytes(), other.read_bytes()
            one.write_bytes(contents[1])
            other.write_bytes(contents[0])
            after = read(format, root)
            assert contents[0] == contents[1] or after.messages != sound.messages or after.digest != sound.digest, one
            one.write_bytes(contents[0])
            other.write_bytes(contents[1])


@pytest.mark.parametrize("format", TREES)
def test_a_folder_in_the_place_of_a_file_is_named(format: str, tmp_path: Path) -> None:
    tree, root = TREES[format], tmp_path / "set"
    tree.plant(root)
    for pattern in tree.targets:
        path = sorted(root.glob(pattern))[0]
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        assert any(str(path) in text for text in read(format, root).messages), path
        path.rmdir()
        path.write_bytes(content)
