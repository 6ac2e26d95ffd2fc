"""extract_frames on real files: video files, frame folders, killed and changed runs."""

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.jobs import folder_job
from support.project import CLIPS
from support.video_files import NO_CLIPS, make_video, noise

from stages.core.state.cache import CacheError
from stages.core.state.folders import check_disjoint, replaced_folder
from stages.core.state.frames import open_frames
from stages.core.state.graph import EXTRACT_FRAMES
from stages.extract_frames import run


def save_frames(folder: Path, n_frames: int, size=(32, 24), suffix=".jpg", start: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + n_frames):
        Image.fromarray(noise(index, size)).save(folder / f"{index}{suffix}")


def error_of(job, video: str) -> str:
    return json.loads((job.layout.errors(EXTRACT_FRAMES) / f"{video}.json").read_text())["error"]


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.lstat().st_ino for path in folder.iterdir()}


def test_video_file_becomes_jpegs(tmp_path):
    job = folder_job(tmp_path, {"sub/clip": ["a"]}, {"frames": {"max_frames": 5, "max_side": 32}})
    (tmp_path / "data/sub").mkdir()
    make_video(tmp_path / "data/sub/clip.mp4")
    run(job)
    frames = open_frames(job.layout, "sub/clip")
    assert frames.names == tuple(f"{i:05d}" for i in range(5))
    assert (frames.suffix, frames.size) == (".jpg", (24, 32))
    assert frames.timestamps == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert sorted(p.name for p in frames.directory.iterdir()) == [f"{i:05d}.jpg" for i in range(5)]
    assert frames.load(3).shape == (24, 32, 3) and int(frames.load(3)[-4:, -4:].mean()) == pytest.approx(44, abs=4)


def test_same_video_gives_same_bytes_and_digest(tmp_path):
    job = folder_job(tmp_path, {"a": ["x"], "b": ["x"], "c": ["x"]})
    make_video(tmp_path / "data/a.mp4")
    shutil.copy(tmp_path / "data/a.mp4", tmp_path / "data/b.mp4")
    make_video(tmp_path / "data/c.mp4", draw=noise)
    run(job)
    a, b, c = (open_frames(job.layout, video) for video in "abc")
    assert a.digest == b.digest != c.digest
    assert a.path(7).read_bytes() == b.path(7).read_bytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_frame_folder_is_linked(tmp_path, suffix):
    job = folder_job(tmp_path, {"walk": ["a"]})
    save_frames(tmp_path / "data/walk", 11, suffix=suffix)
    run(job)
    frames = open_frames(job.layout, "walk")
    assert frames.names == tuple(map(str, range(11)))  # natural order
    assert (frames.suffix, frames.size, frames.timestamps) == (suffix, (24, 32), None)
    assert all(frames.path(i).is_symlink() and frames.path(i).readlink().is_absolute() for i in range(11))
    assert np.array_equal(frames.load(10), np.asarray(Image.open(tmp_path / f"data/walk/10{suffix}")))


def test_jpeg_extensions_become_jpg(tmp_path):
    job = folder_job(tmp_path, {"walk": ["a"]})
    save_frames(tmp_path / "data/walk", 2)
    (tmp_path / "data/walk/0.jpg").rename(tmp_path / "data/walk/0.JPEG")
    run(job)
    assert [open_frames(job.layout, "walk").path(i).name for i in range(2)] == ["0.jpg", "1.jpg"]


def _truncated(folder: Path) -> None:
    content = (folder / "2.jpg").read_bytes()
    (folder / "2.jpg").write_bytes(content[: len(content) // 2])


def _smaller(folder: Path) -> None:
    save_frames(folder, 1, size=(16, 24), start=2)


def _other_kind(folder: Path) -> None:
    (folder / "2.jpg").unlink()
    save_frames(folder, 1, suffix=".png", start=2)


def _dangling(folder: Path) -> None:
    (folder / "2.jpg").unlink()
    (folder / "2.jpg").symlink_to(folder / "gone")


def _no_image(folder: Path) -> None:
    (folder / "2.jpg").write_text("no image")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_truncated, "2.jpg: frame is not readable"),
        (_smaller, "2.jpg: is 16x24, but {folder}/0.jpg is 32x24"),
        (_other_kind, "2.png: another kind of image than {folder}/0.jpg"),
        (_dangling, "2.jpg"),
        (_no_image, "2.jpg: frame is not readable"),
    ],
)
def test_a_bad_frame_fails_its_video_alone(tmp_path, spoil, reason):
    job = folder_job(tmp_path, {"bad": ["a"], "good": ["a"]})
    folder = tmp_path / "data/bad"
    save_frames(folder, 4)
    save_frames(tmp_path / "data/good", 4)
    spoil(folder)
    with pytest.raises(SystemExit):
        run(job)
    assert reason.format(folder=folder) in error_of(job, "bad")
    assert len(open_frames(job.layout, "good")) == 4
    with pytest.raises(CacheError):
        open_frames(job.layout, "bad")
    assert not job.layout.frames("bad").exists()  # nothing half-finished


def test_a_cut_video_leaves_nothing_and_is_made_when_mended(tmp_path):
    job = folder_job(tmp_path, {"clip": ["a"]})
    path = make_video(tmp_path / "data/clip.mkv", draw=noise)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    with pytest.raises(SystemExit):
        run(job)
    assert "cut short" in error_of(job, "clip")
    assert [p.name for p in job.layout.folder(EXTRACT_FRAMES).glob("*")] == []
    path.write_bytes(whole)
    run(job)
    assert len(open_frames(job.layout, "clip")) == 12
    assert not (job.layout.errors(EXTRACT_FRAMES) / "clip.json").exists()


def test_second_run_touches_nothing(tmp_path):
    job = folder_job(tmp_path, {"clip": ["a"], "walk": ["a"]})
    make_video(tmp_path / "data/clip.mp4")
    save_frames(tmp_path / "data/walk", 3)
    run(job)
    before = [inodes(job.layout.frames(video)) for video in ("clip", "walk")]
    run(job)
    assert [inodes(job.layout.frames(video)) for video in ("clip", "walk")] == before
    run(dataclasses.replace(job, overwrite=True))
    assert [inodes(job.layout.frames(video)) for video in ("clip", "walk")] != before


def test_other_options_replace_the_folder(tmp_path):
    job = folder_job(tmp_path, {"clip": ["a"]})
    make_video(tmp_path / "data/clip.mp4")
    run(job)
    run(folder_job(tmp_path, {"clip": ["a"]}, {"frames": {"fps": 5}}))
    frames = open_frames(job.layout, "clip")
    assert len(frames) == 6 == len(list(frames.directory.iterdir()))
    assert frames.timestamps == pytest.approx([i / 5 for i in range(6)])


def test_a_changed_source_is_made_again(tmp_path):
    job = folder_job(tmp_path, {"clip": ["a"], "walk": ["a"]})
    make_video(tmp_path / "data/clip.mp4", 4)
    save_frames(tmp_path / "data/walk", 3)
    run(job)
    before = open_frames(job.layout, "walk").digest
    make_video(tmp_path / "data/clip.mp4", 7)
    save_frames(tmp_path / "data/walk", 1, start=3)
    run(job)
    assert (len(open_frames(job.layout, "clip")), len(open_frames(job.layout, "walk"))) == (7, 4)
    assert open_frames(job.layout, "walk").digest != before


def test_a_moved_data_set_is_linked_anew_with_the_same_digest(tmp_path):
    job = folder_job(tmp_path, {"walk": ["a"]})
    save_frames(tmp_path / "data/walk", 3)
    run(job)
    before = open_frames(job.layout, "walk").digest
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    over = {"datasets": {"clips": {"root": str(tmp_path / "elsewhere")}}}
    run(dataclasses.replace(job, config=folder_job(tmp_path, {}, over).config))
    frames = open_frames(job.layout, "walk")
    assert frames.digest == before and frames.load(2).shape == (24, 32, 3)


@pytest.mark.parametrize("loss", ["folder", "frame"])
def test_a_manifest_without_its_frames_counts_for_nothing(tmp_path, loss):
    job = folder_job(tmp_path, {"clip": ["a"]})
    make_video(tmp_path / "data/clip.mp4")
    run(job)
    frames = open_frames(job.layout, "clip")
    shutil.rmtree(frames.directory) if loss == "folder" else frames.path(3).unlink()
    run(job)
    assert len(list(frames.directory.iterdir())) == 12


def test_a_killed_run_leaves_nothing_that_counts(tmp_path):
    job = folder_job(tmp_path, {"a": ["x"]})
    make_video(tmp_path / "data/a.mp4")
    home = job.layout.folder(EXTRACT_FRAMES)
    for name in (".a.123.tmp", ".ab.123.tmp"):  # what a killed run leaves; the second is another video's
        (home / name).mkdir(parents=True)
        (home / name / "00000.jpg").touch()
    save_frames(home / "a", 3)  # renamed, but killed before the manifest
    run(job)
    assert {path.name for path in home.iterdir()} == {"a", "a.json", ".ab.123.tmp"}
    assert len(list((home / "a").iterdir())) == 12


def test_a_failing_block_keeps_the_old_folder(tmp_path):
    folder, record = tmp_path / "v", tmp_path / "v.json"
    save_frames(folder, 2)
    record.touch()
    with pytest.raises(RuntimeError), replaced_folder(folder, record) as temporary:
        save_frames(temporary, 1)
        raise RuntimeError
    assert record.exists() and len(list(folder.iterdir())) == 2 and len(list(tmp_path.iterdir())) == 2
    with replaced_folder(folder, record) as temporary:
        save_frames(temporary, 1)
        assert record.exists()  # until the very swap
    assert not record.exists() and len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("ids", [["a", "a/b"], ["a", "a.json"], ["x/a", "x/a/b/c"], ["a", "a.json/b"], ["a", "a"]])
def test_ids_that_would_overwrite_each_other_are_refused(ids):
    with pytest.raises(ValueError, match=r"videos '.*' and '.*' would overwrite each other"):
        check_disjoint(ids, ".json")
    check_disjoint(["a", "ab", "b/a", "b/ab", "c.d", "c"], ".json")


def test_prefix_ids_stop_the_stage(tmp_path):
    job = folder_job(tmp_path, {"a": ["x"], "a/b": ["x"]})
    save_frames(tmp_path / "data/a", 2)
    save_frames(tmp_path / "data/a/b", 2)
    with pytest.raises(ValueError, match="'a' and 'a/b'"):
        run(job)


def test_quality_enters_the_file(tmp_path):
    sizes = []
    for quality in (95, 30):
        job = folder_job(tmp_path, {"clip": ["a"]}, {"frames": {"jpeg_quality": quality}})
        make_video(tmp_path / "data/clip.mp4", 1, draw=noise)
        run(job)
        sizes.append(open_frames(job.layout, "clip").path(0).stat().st_size)
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.skipif(not CLIPS.is_dir(), reason=NO_CLIPS)
def test_real_clip(tmp_path):
    job = folder_job(tmp_path, {"08_driving": ["a"]}, {"frames": {"fps": 6, "max_side": 480}})
    (tmp_path / "data/08_driving.mp4").symlink_to((CLIPS / "08_driving.mp4").resolve())
    run(job)
    frames = open_frames(job.layout, "08_driving")
    assert len(frames) == 31 and frames.size == (270, 480)
    with Image.open(io.BytesIO(frames.path(30).read_bytes())) as image:
        image.load()
