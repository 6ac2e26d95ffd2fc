"""What the workflow watches of a data set: every file that a split is read from, and none that it is not."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.project import make_config
from support.tiny_mevis import write_tree
from support.trees import TREES

from stages.core.config.file import Config
from stages.datasets import entries, open_split
from stages.datasets.frame_files import frame_files
from stages.datasets.listing import split_listing


def planted(format: str, folder: Path) -> tuple[Path, Callable[[], str], Config, str]:
    """A data set of a format, and what gives its listing."""
    root, split = folder / "set", TREES[format].split
    TREES[format].plant(root)
    entry = {"format": format, "root": str(root), "splits": {split: {"role": "evaluate", "limit": None}}}
    base = {"generate": False, "models": "micro", "settings": {}, "published": False}
    selector = {"weights": "w.safetensors", "train": None, "validate_on": None}
    config = make_config(folder / "project", {"datasets": {"own": {**base, "selector": selector, **entry}}})
    return root, lambda: split_listing(config, "own", split), config, split


@pytest.mark.parametrize("format", TREES)
def test_every_file_that_is_read_is_watched(format: str, tmp_path: Path) -> None:
    root, listing, config, split = planted(format, tmp_path)
    opened = open_split(config, "own", split)
    frames = [file for video in opened.videos() if video.frames for file in frame_files(video, as_shown=True)]
    videos = [video.location for video in opened.videos() if not video.frames]
    targets = [path for pattern in TREES[format].targets for path in root.glob(pattern)]
    before = listing()
    assert before == listing()
    for path in {*frames, *videos, *targets}:
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))  # another content, of the same size
        assert listing() != before, path
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert listing() != before, path
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert listing() == before
    for path in [*frames[:1], *videos[:1], *targets]:
        path.rename(tmp_path / "away")
        assert listing() != before, path
        (tmp_path / "away").rename(path)


def test_what_the_index_does_not_name_is_not_watched(tmp_path: Path) -> None:
    root, listing, *_ = planted("mevis", tmp_path)
    before = listing()
    images = root / "valid_u/JPEGImages"
    (images / "another").mkdir()
    (images / "another/00000.jpg").write_bytes(b"123")
    (images / "video0/.DS_Store").write_bytes(b"123")
    (images / "video0/notes.txt").write_text("no frame")
    write_tree(tmp_path / "other")
    (tmp_path / "other/train").rename(root / "another split")
    assert listing() == before


def test_an_index_that_cannot_be_read_has_a_listing_too(tmp_path: Path) -> None:
    root, listing, *_ = planted("mevis", tmp_path)
    digests = [listing()]
    for text in ("{", "{}", '{"videos": {}} '):
        (root / "valid_u/meta_expressions.json").write_text(text)
        digests.append(listing())
    (root / "valid_u/meta_expressions.json").unlink()
    digests.append(listing())
    assert len(set(digests)) == len(digests)


def test_readers_say_nothing_while_they_are_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, listing, config, split = planted("a2d", tmp_path)
    listing()
    assert not caplog.records
    open_split(config, "own", split)
    assert caplog.records  # and are heard again


def test_processes_say_what_threads_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one of them cannot run."""
    root, *_ = planted("mevis", tmp_path)
    videos = sorted((root / "valid_u/JPEGImages").iterdir())
    (videos[0] / "line\nbreak.jpg").write_bytes(b"1")
    (root / os.fsdecode(b"no \xff text")).mkdir()
    places = [*videos, root / "nothing", root / os.fsdecode(b"no \xff text")], sorted((root / "valid_u").iterdir())
    here = entries.entry_digests(*places)
    assert [len(part) for part in here] == [len(part) for part in places]
    monkeypatch.setattr(entries, "FEW", 0)
    monkeypatch.setattr(entries, "_in_threads", lambda places: pytest.fail("looked at here"))
    assert entries.entry_digests(*places) == here
    monkeypatch.undo()
    monkeypatch.setattr(entries, "FEW", 0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert entries.entry_digests(*places) == here
