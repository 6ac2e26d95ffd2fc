"""What is there already: left as it is, replaced where it is ours, refused where it is not; a full disk; a killed run."""

import dataclasses
import subprocess
from pathlib import Path

import pytest
from support.segmented import RENDER, make_clip, segment

from stages.core.state.temporary import DiskFull
from stages.delivery.ledger import LEDGER, Ledger, files_of
from stages.delivery.segmented import Segmented, Sentence
from stages.delivery.writing import write

LIGHT = ["masks", "times"]


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Segmented:
    return segment(make_clip(tmp_path_factory.mktemp("clip")))


def inodes(paths: list[Path]) -> list[int]:
    return [path.stat().st_ino for path in paths]


def test_what_is_current_is_left_and_what_changed_is_made_again(segmented, tmp_path):
    paths = write(segmented, LIGHT, tmp_path, RENDER)
    before = inodes(paths)
    assert inodes(write(segmented, LIGHT, tmp_path, RENDER)) == before
    other = RENDER.model_copy(update={"opacity": 0.2})
    assert not set(inodes(write(segmented, LIGHT, tmp_path, other))) & set(before)


def test_a_lost_file_is_made_again(segmented, tmp_path):
    masks, *_ = write(segmented, ["masks"], tmp_path, RENDER)
    content = files_of(masks)
    times = write(segmented, ["times"], tmp_path, RENDER)[0]
    times.unlink()
    write(segmented, LIGHT, tmp_path, RENDER)
    assert times.is_file() and files_of(masks) == content


@pytest.mark.parametrize("what", ["file", "folder", "link", "edited", "added"])
def test_what_is_not_ours_is_refused_and_stays(segmented, tmp_path, what):
    place = tmp_path / "the-dog-that-turns-around.masks"
    if what == "file":
        place.write_text("mine")
    elif what == "folder":
        place.mkdir()
        (place / "mine.png").write_text("mine")
    elif what == "link":
        place.symlink_to(tmp_path / "elsewhere")
    else:
        write(segmented, ["masks"], tmp_path, RENDER)
        target = place / "union" / ("frame_000000.png" if what == "edited" else "mine.png")
        target.write_bytes(b"mine")
    before, names = files_of(place), sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"masks: would be replaced, and Referee did not make it.*move it away"):
        write(segmented, ["times", "masks"], tmp_path, RENDER)
    assert files_of(place) == before and sorted(tmp_path.iterdir()) == names


def test_a_damaged_ledger_is_named(segmented, tmp_path):
    write(segmented, ["times"], tmp_path, RENDER)
    (tmp_path / LEDGER).write_text("{")
    with pytest.raises(ValueError, match=r"\.referee-outputs\.json: damaged .*; move the outputs"):
        write(segmented, ["times"], tmp_path, RENDER)


def test_a_run_killed_between_any_two_steps_is_repeated_to_the_same_files(segmented, tmp_path, monkeypatch):
    """Every rename and removal is a moment to die in."""
    short = dataclasses.replace(segmented, span=range(2), frames=(0,), sentences=(Sentence("a unicorn", ()),))
    whole = tmp_path / "whole"
    other = RENDER.model_copy(update={"opacity": 0.2})
    write(short, ["masks", "times"], whole, other)
    expected = {path.name: files_of(path) for path in whole.iterdir()}

    class KilledError(BaseException):
        pass

    for moment in range(40):
        out = tmp_path / str(moment)
        write(short, ["masks", "times"], out, RENDER)
        left = moment
        for name in ("replace", "rename", "unlink"):
            original = getattr(Path, name)

            def step(self, *arguments, original=original, **named):
                nonlocal left
                left -= 1
                if left < 0:
                    raise KilledError
                return original(self, *arguments, **named)

            monkeypatch.setattr(Path, name, step)
        try:
            write(short, ["masks", "times"], out, other)
            done = True
        except KilledError:
            done = False
        monkeypatch.undo()
        write(short, ["masks", "times"], out, other)
        assert {path.name: files_of(path) for path in out.iterdir()} == expected
        if done:
            break
    assert done and moment > 5


def test_a_full_disk_is_one_sentence_and_leaves_nothing(segmented, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        for name in ("prores", "webm", "yolo"):
            with pytest.raises(DiskFull, match=f"no space left on {place} for .*; free some and run this again"):
                write(segmented, [name, "masks"], place, RENDER)
            assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_only_what_the_ledger_lists_is_ours(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(ValueError, match="did not make it"):
        Ledger(tmp_path).check(tmp_path / "a")
    Ledger(tmp_path).check(tmp_path / "b")
