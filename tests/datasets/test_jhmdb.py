"""The JHMDB-Sentences reader: frames counted from 1, fewer masks than frames, the pinned list of samples."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from support.trees_sentences import JHMDB_CLIPS, jhmdb_masks, write_jhmdb

from stages.core.media import masks
from stages.datasets.jhmdb import SAMPLES, open_split, sample_frames
from stages.datasets.mat_file import masks_shape, read_masks

GOLF = Path("golf/Alone_golf_u_cm")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_jhmdb(tmp_path / "jhmdb")


def test_clips_of_all_actions(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    split = open_split(root, "test", None)
    videos = split.videos()
    assert (split.name, split.has_truth, split.protocol) == ("test", True, "jhmdb")
    assert [video.id for video in videos] == list(JHMDB_CLIPS)
    assert "3 videos with 3 expressions; published: 928 videos with 928" in caplog.text
    for video, (action, n_frames, _) in zip(videos, JHMDB_CLIPS.values(), strict=True):
        assert video.location == root / "Rename_Images" / action / video.id and not video.defect
        assert video.frames == tuple(f"{t + 1:05d}" for t in range(n_frames)) and video.cost == n_frames
    (expression,) = videos[1].expressions
    assert (expression.id, expression.annotations) == ("0", ("0",))
    assert (expression.text, expression.raw) == ("person 1, in blue", "person 1, in  Blue")
    assert len(open_split(root, "test", 2).videos()) == 2


@pytest.mark.parametrize("compressed", [True, False])
def test_masks_belong_to_the_first_frames(tmp_path: Path, compressed: bool) -> None:
    split = open_split(write_jhmdb(tmp_path / "j", compressed=compressed), "test", None)
    for video, (_, n_frames, n_masks) in zip(split.videos(), JHMDB_CLIPS.values(), strict=True):
        sequence = split.annotations(video)["0"]
        assert len(sequence) == n_frames and not any(sequence[n_masks:])
        for t, mask in enumerate(jhmdb_masks(n_masks).transpose(2, 0, 1)):
            rle = sequence[t]
            assert rle is not None
            np.testing.assert_array_equal(masks.decode(rle), mask != 0)


def test_three_frames_with_masks_are_scored(root: Path) -> None:
    split = open_split(root, "test", None)
    for video, (_, _, n_masks) in zip(split.videos(), JHMDB_CLIPS.values(), strict=True):
        scored = list(split.scored_frames(video))
        assert scored == sorted(set(scored)) and len(scored) == min(3, n_masks) and max(scored) < n_masks
        assert scored == sample_frames(video.id, n_masks)


def test_the_list_of_samples_is_pinned() -> None:
    """Computed once; another list would need another name (`SAMPLES`)."""
    assert SAMPLES == "referee-jhmdb-928x3-seed0"
    assert sample_frames("Alone_golf_u_cm", 40) == [14, 22, 27]
    assert sample_frames("#122_Clean_up_catch_f_np1", 33) == [2, 18, 24]
    drawn = np.bincount([frame for clip in range(400) for frame in sample_frames(f"clip{clip}", 4)])
    assert drawn.min() > 250  # of 1200 draws over 4 frames


def _add_line(root: Path, line: str) -> None:
    with (root / "jhmdb_annotation.txt").open("a") as file:
        file.write(line + "\n")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda r: (r / "Rename_Images" / GOLF / "00003.png").unlink(), "frame 00004.png where 00003.png belongs"),
        (lambda r: (r / "Rename_Images" / GOLF / "00001.png").unlink(), "frame 00002.png where 00001.png belongs"),
        (lambda r: (r / "Rename_Images/golf").rename(r / "golf"), r"annotation.txt:3: no clip Rename_Images/\*/Alone"),
        (lambda r: _add_line(r, "Alone_golf_u_cm,again"), r"annotation.txt:5: video 'Alone_golf_u_cm' has two sent"),
    ],
)
def test_what_is_wrong_with_one_clip_is_its_defect(root: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(root)
    catch, golf, run = open_split(root, "test", None).videos()
    assert re.search(reason, golf.defect) and not catch.defect and not run.defect


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda r: (r / "jhmdb_annotation.txt").unlink(), "jhmdb_annotation.txt: the table does not exist"),
        (lambda r: (r / "jhmdb_annotation.txt").write_text("short_run_l,a\n"), "annotation.txt:1: names a clip where"),
        (lambda r: _add_line(r, "../up,x"), r"annotation.txt:5: video id '../up' cannot be used"),
        (lambda r: _add_line(r, "x"), r"annotation.txt:5: holds 1 cells instead of 2"),
        (lambda r: (r / "Rename_Images").rename(r / "x"), "Rename_Images: the folder does not exist"),
        (lambda r: (r / "Rename_Images/run" / GOLF.name).mkdir(), "Alone_golf_u_cm has the same name"),
    ],
)
def test_a_broken_table_or_tree_is_refused(root: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(root)
    with pytest.raises(ValueError, match=reason):
        open_split(root, "test", None)


def test_there_is_one_split(root: Path) -> None:
    with pytest.raises(ValueError, match="split 'test' alone, not 'train'"):
        open_split(root, "train", None)


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def _version_73(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["part_mask"] = jhmdb_masks(5)
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    path.write_bytes(head + path.read_bytes()[128:])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p: p.unlink(), "the masks do not exist"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "it is broken or cut at byte 128"),
        (lambda p: _flip(p, -20), "not readable as masks in a MATLAB 5 file"),  # the checksum tells
        (lambda p: p.write_bytes(b""), "not readable as masks in a MATLAB 5 file"),
        (_version_73, "is of version 7.3; save it as version 5"),
        (lambda p: savemat(p, {"mask": jhmdb_masks(5)}), r"no variable 'part_mask', but \['mask'\]"),
        (lambda p: savemat(p, {"part_mask": np.array([jhmdb_masks(1), "x"], object)}), "is of class 1,"),
        (lambda p: savemat(p, {"part_mask": {"a": 1}}), "is of class 2,"),
        (lambda p: savemat(p, {"part_mask": "text"}), "is of class 4,"),
        (lambda p: savemat(p, {"part_mask": np.zeros((2, 2, 2, 2))}), r"has shape \(2, 2, 2, 2\)"),
        (lambda p: savemat(p, {"part_mask": np.zeros((48, 64, 0))}), r"has shape"),
        (lambda p: savemat(p, {"part_mask": jhmdb_masks(8)}), "holds 8 masks for 7 frames"),
        (lambda p: savemat(p, {"part_mask": jhmdb_masks(5)[:9]}), r"masks are of size \(9, 64\)"),
    ],
)
def test_damaged_masks_name_their_file(root: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(root / "puppet_mask" / GOLF / "puppet_mask.mat")
    split = open_split(root, "test", None)
    catch, golf, _ = split.videos()
    with pytest.raises(ValueError, match=reason) as caught:
        split.annotations(golf)
    assert "Alone_golf_u_cm/puppet_mask.mat" in str(caught.value)
    assert split.annotations(catch)


def test_a_folder_without_masks_names_the_clip(root: Path) -> None:
    (root / "puppet_mask/golf").rename(root / "golf")
    split = open_split(root, "test", None)
    with pytest.raises(ValueError, match="puppet_mask: holds no masks of video 'Alone_golf_u_cm'"):
        split.scored_frames(split.videos()[1])


@pytest.mark.parametrize("kind", [np.uint8, np.float64, np.float32, np.bool_, np.int16, np.int64, ">u2"])
@pytest.mark.parametrize("compressed", [True, False])
def test_any_kind_of_number_is_a_mask(tmp_path: Path, kind: type, compressed: bool) -> None:
    masks_HWT = np.random.default_rng(5).integers(0, 2, (5, 7, 3))
    variables = {"a": np.ones((3, 3)), "part_mask": masks_HWT.astype(kind), "zz": "text"}
    savemat(tmp_path / "a.mat", variables, do_compression=compressed)
    assert masks_shape(tmp_path / "a.mat") == masks_HWT.shape
    np.testing.assert_array_equal(read_masks(tmp_path / "a.mat"), masks_HWT.transpose(2, 0, 1) != 0)


def test_files_of_big_endian_machines_are_read(tmp_path: Path) -> None:
    """Written by hand: savemat writes the byte order of this machine. Parts of four bytes lie inside their tags."""
    masks_HWT = jhmdb_masks(2)[:6, 8:13]

    def part(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    flags, name = part(6, struct.pack(">II", 9, 0)), part(1, b"part_mask")
    shape = part(5, struct.pack(">3i", *masks_HWT.shape))
    other = part(6, struct.pack(">II", 9, 0)) + part(5, struct.pack(">2i", 1, 1)) + struct.pack(">HH4s", 1, 1, b"x")
    elements = [flags + shape + name + part(2, masks_HWT.tobytes("F")), other + struct.pack(">HH4s", 1, 2, b"\1")]
    head = b"MATLAB 5.0".ljust(124) + b"\1\0MI"
    (tmp_path / "a.mat").write_bytes(head + b"".join(part(14, element) for element in elements))
    np.testing.assert_array_equal(read_masks(tmp_path / "a.mat"), masks_HWT.transpose(2, 0, 1) != 0)


def test_frames_of_another_size_than_the_masks_are_named(root: Path) -> None:
    frame = root / "Rename_Images" / GOLF / "00001.png"
    Image.new("RGB", (10, 9)).save(frame)
    split = open_split(root, "test", None)
    with pytest.raises(ValueError, match=r"00001\.png"):
        split.annotations(split.videos()[1])
