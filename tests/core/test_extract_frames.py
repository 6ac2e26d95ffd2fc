"""extract_frames on real files: video files, frame folders, killed and changed runs."""

import dataclasses
import io
import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from support.jobs import folder_job
from support.project import CLIPS
from support.video_files import NO_CLIPS, make_video, noise

from stages.core.digests import digest
from stages.core.records import Video
from stages.core.state.cache import CacheError
from stages.core.state.folders import check_disjoint, replaced_folder
from stages.core.state.frames import open_frames
from stages.core.state.graph import EXTRACT_FRAMES
from stages.extract_frames import run, take_frames


def save_frames(folder: Path, n_frames: int, size=(32, 24), suffix=".jpg", start: int = 0, deep: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + n_frames):
        image_HW3 = noise(index, size)
        picture = image_HW3[..., 0].astype(np.uint16) * 257 if deep else image_HW3
        Image.fromarray(picture).save(folder / f"{index}{suffix}")


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


def _empty(folder: Path) -> None:
    (folder / "2.jpg").write_bytes(b"")


def _pipe(folder: Path) -> None:
    (folder / "2.jpg").unlink()
    os.mkfifo(folder / "2.jpg")


def _several(folder: Path) -> None:
    pictures = [Image.fromarray(noise(index, (32, 24))) for index in range(2)]
    pictures[0].save(folder / "2.jpg", "TIFF", save_all=True, append_images=pictures[1:])


def _floats(folder: Path) -> None:
    Image.fromarray(np.ones((24, 32), np.float32)).save(folder / "2.jpg", "TIFF")


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
        (_dangling, "2.jpg: a link to {folder}/gone, which is not there"),
        (_no_image, "2.jpg: frame is not readable (no picture of a known kind)"),
        (_empty, "2.jpg: frame is not readable (the file is empty)"),
        (_pipe, "2.jpg: frame is not a file (a folder, pipe or device)"),
        (_several, "2.jpg: frame is not readable (holds 2 pictures; a frame is one)"),
        (_floats, "2.jpg: frame is not readable (its pixels are floats, of no known range)"),
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


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one byte": lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
    "another picture": lambda content: content[:-2] + b"xx" + content[-2:],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["clip", "walk", "deep"])
def test_a_damaged_frame_is_seen_and_made_again(tmp_path, damage, kind, caplog):
    job = folder_job(tmp_path, {kind: ["a"]})
    if kind == "clip":
        make_video(tmp_path / "data/clip.mp4", draw=noise)
    else:
        save_frames(tmp_path / f"data/{kind}", 12, suffix=".png" if kind == "deep" else ".jpg", deep=kind == "deep")
    run(job)
    frames = open_frames(job.layout, kind)
    path, before = frames.path(7), frames.path(7).read_bytes()
    path.unlink()  # a link is replaced, not what it leads to
    path.write_bytes(DAMAGE[damage](before))
    with pytest.raises(CacheError, match=rf"{path.name}: is not what extract_frames left there; run"):
        frames.load(7)
    run(job)
    assert f"{path.name} is not what was written there; made again" in caplog.text
    assert path.read_bytes() == before and path.is_symlink() == (kind == "walk")
    assert open_frames(job.layout, kind).load(7).shape == frames.load(7).shape


def test_damage_without_a_trace_in_times_is_found_once_it_is_read(tmp_path):
    job = folder_job(tmp_path, {"clip": ["a"]})
    make_video(tmp_path / "data/clip.mp4", draw=noise)
    run(job)
    frames = open_frames(job.layout, "clip")
    path, before = frames.path(7), frames.path(7).read_bytes()
    path.write_bytes(DAMAGE["one byte"](before))  # as a disk does it: the size and the time stay
    os.utime(path, (1, 1))
    with pytest.raises(CacheError, match="is not what extract_frames left"):
        frames.load(7)
    run(job)
    assert path.read_bytes() == before


def test_a_pipe_in_place_of_a_frame_is_not_waited_for(tmp_path):
    job = folder_job(tmp_path, {"clip": ["a"]})
    make_video(tmp_path / "data/clip.mp4", 3)
    run(job)
    path = open_frames(job.layout, "clip").path(1)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match="is not a file"):
        open_frames(job.layout, "clip").load(1)
    run(job)
    assert open_frames(job.layout, "clip").load(1).shape == (48, 64, 3)


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


# ------------------------------------------------------------------------------------------ pixels


def test_ordinary_videos_have_the_digest_they_always_had(tmp_path):
    job = folder_job(tmp_path, {"clip": ["a"], "walk": ["a"]})
    path = make_video(tmp_path / "data/clip.mp4", 6, draw=noise)
    save_frames(tmp_path / "data/walk", 3)
    run(job)
    with av.open(str(path)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    contents = []
    for image_HW3 in images:
        encoded = io.BytesIO()
        Image.fromarray(image_HW3).save(encoded, "JPEG", quality=95)
        contents.append(encoded.getvalue())
    clip, walk = (open_frames(job.layout, video) for video in ("clip", "walk"))
    assert clip.digest == digest([[f"{i:05d}", sha256(c).hexdigest()] for i, c in enumerate(contents)])
    shipped = [(tmp_path / f"data/walk/{i}.jpg").read_bytes() for i in range(3)]
    assert walk.digest == digest([[str(i), sha256(c).hexdigest()] for i, c in enumerate(shipped)])
    assert clip.pixels == walk.pixels == ()


def picture_HW3() -> np.ndarray:
    return np.asarray(Image.fromarray(noise(5, (8, 6))).resize((32, 24), Image.Resampling.BICUBIC))


def _save_deep(path: Path) -> np.ndarray:
    grey_HW = picture_HW3()[..., 0]
    Image.fromarray(grey_HW.astype(np.uint16) * 257).save(path, "PNG")
    return np.repeat(grey_HW[..., None], 3, 2)


def _save_rgba(path: Path) -> np.ndarray:
    rgba_HW4 = np.dstack([picture_HW3(), np.full((24, 32), 255, np.uint8)])
    rgba_HW4[12:] = (0, 0, 0, 0)
    Image.fromarray(rgba_HW4).save(path, "PNG")
    return np.where(np.arange(24)[:, None, None] < 12, rgba_HW4[..., :3], 255)


def _save_palette(path: Path) -> np.ndarray:
    image = Image.fromarray((np.arange(32 * 24).reshape(24, 32) % 2).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(path, "PNG", transparency=0)
    return np.where((np.arange(32 * 24).reshape(24, 32) % 2)[..., None] == 0, 255, (10, 20, 30))


def _save_turned(path: Path) -> np.ndarray:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(picture_HW3())).save(path, "PNG", exif=exif)
    return picture_HW3()


def _save_plainly(kind: str):
    def save(path: Path) -> np.ndarray:
        Image.fromarray(picture_HW3()).save(path, kind, **({"lossless": True} if kind == "WEBP" else {}))
        return picture_HW3()

    return save


@pytest.mark.parametrize(
    ("save", "suffix", "pixels"),
    [
        (_save_deep, ".png", "16 bits scaled to 8"),
        (_save_rgba, ".png", "transparency laid over white"),
        (_save_palette, ".png", "transparency laid over white"),
        (_save_turned, ".png", "turned upright (EXIF)"),
        (_save_plainly("TIFF"), ".tif", "stored as PNG"),
        (_save_plainly("TIFF"), ".TIFF", "stored as PNG"),
        (_save_plainly("WEBP"), ".webp", "stored as PNG"),
        (_save_plainly("BMP"), ".bmp", "stored as PNG"),
    ],
)
def test_frames_that_are_not_plain_are_stored_as_they_are_shown(tmp_path, save, suffix, pixels):
    job = folder_job(tmp_path, {"odd": ["a"]})
    (tmp_path / "data/odd").mkdir()
    expected = [save(tmp_path / f"data/odd/{index}{suffix}") for index in range(3)]
    run(job)
    frames = open_frames(job.layout, "odd")
    assert (frames.suffix, frames.size, frames.pixels) == (".png", (24, 32), (pixels,))
    assert all(np.array_equal(frames.load(index), expected[index]) for index in range(3))
    with Image.open(frames.path(0)) as stored:
        assert stored.mode == "RGB" and not stored.getexif()


def test_one_odd_frame_is_enough_to_store_all_alike(tmp_path):
    job = folder_job(tmp_path, {"mixed": ["a"]})
    save_frames(tmp_path / "data/mixed", 2, suffix=".jpg")
    save_frames(tmp_path / "data/mixed", 1, suffix=".png", start=2)
    run(job)
    frames = open_frames(job.layout, "mixed")
    assert frames.suffix == ".png" and frames.pixels == ("stored as PNG",)
    for index, name in enumerate(("0.jpg", "1.jpg", "2.png")):
        assert np.array_equal(frames.load(index), np.asarray(Image.open(tmp_path / f"data/mixed/{name}")))


def test_sizes_are_compared_upright(tmp_path):
    job = folder_job(tmp_path, {"phone": ["a"], "tall": ["a"]})
    for video in ("phone", "tall"):
        (tmp_path / f"data/{video}").mkdir()
        _save_turned(tmp_path / f"data/{video}/0.png")
    save_frames(tmp_path / "data/phone", 1, suffix=".png", start=1)  # stored as it is shown
    save_frames(tmp_path / "data/tall", 1, size=(24, 32), suffix=".png", start=1)
    with pytest.raises(SystemExit):
        run(job)
    assert open_frames(job.layout, "phone").size == (24, 32)
    assert "1.png: is 24x32, but" in error_of(job, "tall") and "once all are upright (EXIF)" in error_of(job, "tall")


def test_an_opaque_picture_in_a_transparent_mode_is_linked(tmp_path):
    job = folder_job(tmp_path, {"shots": ["a"]})
    (tmp_path / "data/shots").mkdir()
    for index in range(2):
        Image.fromarray(noise(index, (32, 24))).convert("RGBA").save(tmp_path / f"data/shots/{index}.png")
    run(job)
    frames = open_frames(job.layout, "shots")
    assert frames.path(0).is_symlink() and np.array_equal(frames.load(1), noise(1, (32, 24)))


def test_frames_of_a_data_set_with_masks_are_not_turned(tmp_path):
    (tmp_path / "0.png").parent.mkdir(exist_ok=True)
    _save_turned(tmp_path / "0.png")
    video = Video("v", ("0",), tmp_path, (), 1)
    (tmp_path / "out").mkdir()
    taken = take_frames(video, tmp_path / "out", 1, as_shown=False)
    assert taken.frames[0].size == (32, 24) and (tmp_path / "out/0.png").is_symlink() and not taken.pixels


def test_what_is_left_out_of_the_index_is_said(tmp_path, caplog):
    job = folder_job(tmp_path, {"clip": ["a", "", "???", "!!!"], "../x": ["b"]})
    make_video(tmp_path / "data/clip.mp4", 2)
    run(job)
    said = [record.getMessage() for record in caplog.records if "expressions.json" in record.getMessage()]
    for reason in ("is empty", "has no word", "cannot be used as a path"):  # one line per kind
        assert sum(reason in line for line in said) == 1
    assert len(open_frames(job.layout, "clip")) == 2


def test_five_odd_clips_give_four_answers_and_one_named_failure(tmp_path):
    index = {"phone": ["a"], "vfr": ["a"], "tape": ["a"], "street/cars": ["a"], "broken": ["a"]}
    job = folder_job(tmp_path, index)
    data = tmp_path / "data"
    make_video(data / "phone.mov", 3, turn={"degrees": 90})
    make_video(data / "vfr.mp4", 4, times_ms=[0, 40, 300, 1000])
    make_video(data / "broken.mp4", 4).write_bytes(make_video(data / "broken.mp4", 4).read_bytes()[:-100])
    (data / "street/cars").mkdir(parents=True)
    _save_rgba(data / "street/cars/1.png")
    make_video(data / "made.mkv", 4).rename(data / "tape.avi")  # by its first bytes, not its name
    with pytest.raises(SystemExit):
        run(job)
    assert open_frames(job.layout, "phone").size == (64, 48)
    assert {v: len(open_frames(job.layout, v)) for v in ("vfr", "tape", "street/cars")} == {
        "vfr": 4,
        "tape": 4,
        "street/cars": 1,
    }
    assert "broken.mp4: " in error_of(job, "broken") and "cut short" in error_of(job, "broken")


@pytest.mark.skipif(not CLIPS.is_dir(), reason=NO_CLIPS)
def test_real_clip(tmp_path):
    job = folder_job(tmp_path, {"08_driving": ["a"]}, {"frames": {"fps": 6, "max_side": 480}})
    (tmp_path / "data/08_driving.mp4").symlink_to((CLIPS / "08_driving.mp4").resolve())
    run(job)
    frames = open_frames(job.layout, "08_driving")
    assert len(frames) == 31 and frames.size == (270, 480)
    with Image.open(io.BytesIO(frames.path(30).read_bytes())) as image:
        image.load()
