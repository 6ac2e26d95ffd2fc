"""The A2D-Sentences reader: tables, clips, transposed masks, frame numbers from 1."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.project import CLIPS
from support.trees_sentences import A2D_FRAMES, BIRD, CAT, MAN, SIZE, box, write_a2d, write_h5
from support.video_files import NO_CLIPS, make_video

from stages.core.media import masks
from stages.core.media.video import decode, measure
from stages.core.state.fingerprints import annotations_digest
from stages.datasets.a2d import open_split
from stages.datasets.a2d_masks import read_instances

FRAMES = Path("text_annotations/a2d_annotation_with_instances")
SENTENCES = Path("text_annotations/a2d_annotation.txt")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_a2d(tmp_path / "a2d")


def test_videos_and_expressions(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        split = open_split(root, "test", None)
    assert (split.name, split.has_truth, split.protocol) == ("test", True, "a2d")
    cat, bird = split.videos()  # the order of videoset.csv; lost5 is missed, mute4 has no sentence
    assert (cat.id, cat.frames, cat.location) == ("-cat1", (), root / "Release/clips320H/-cat1.mp4")
    assert cat.cost == cat.location.stat().st_size and not cat.defect and not bird.defect
    assert [(e.id, e.text, e.annotations, e.raw) for e in cat.expressions] == [  # the "1 (copy)" is dropped
        ("1", "a cat in grey walking", ("1",), "A  Cat in grey walking"),
        ("2", "man in red", ("2",), "man in red"),
    ]
    assert "'mute4' has no line" in caplog.text and "published: 6655" in caplog.text and "lost5" not in caplog.text
    (dog,) = open_split(root, "train", None).videos()
    assert dog.expressions[0].text == "a dog, brown, is rolling"
    assert [video.id for video in open_split(root, "test", 1).videos()] == ["-cat1"]


def test_masks_are_transposed_and_frames_count_from_1(root: Path) -> None:
    split = open_split(root, "test", None)
    cat, bird = split.videos()
    found = split.annotations(cat)
    assert split.scored_frames(cat) == [2, 6] and split.scored_frames(bird) == [8]
    assert {key: [t for t, rle in enumerate(seq) if rle] for key, seq in found.items()} == {"1": [2], "2": [2, 6]}
    assert all(len(seq) == A2D_FRAMES for seq in found.values())
    for key, frame, truth in (("1", 2, CAT), ("2", 2, MAN), ("2", 6, MAN)):  # frame 6: reMask is 2-D
        rle = found[key][frame]
        assert rle is not None and rle["size"] == SIZE
        np.testing.assert_array_equal(masks.decode(rle), truth != 0)
    (rle,) = filter(None, split.annotations(bird)["3"])
    np.testing.assert_array_equal(masks.decode(rle), BIRD != 0)
    assert annotations_digest(cat, found) == annotations_digest(cat, split.annotations(cat))


def test_an_instance_that_no_frame_holds_is_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_h5(root / FRAMES / "bird3/00009.h5", [4], [BIRD])
    split = open_split(root, "test", None)
    assert not any(split.annotations(split.videos()[1])["3"])
    assert "bird3: no frame holds instance 3" in caplog.text


def test_measure_counts_what_extraction_decodes(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "a.mp4", 23, (64, 48))
    assert measure(clip) == (23, (48, 64)) and sum(1 for _ in decode(clip)) == 23


@pytest.mark.skipif(not CLIPS.is_dir(), reason=NO_CLIPS)
def test_measure_on_a_real_clip() -> None:
    clip = CLIPS / "02_cups.mp4"
    frames = [frame.image_HW3.shape[:2] for frame in decode(clip)]
    assert measure(clip) == (len(frames), frames[0])


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("bird3,3", "bird3,3.5", r"annotation.txt:6: instance '3.5' is not a number"),
        ("bird3,3", "bird3," + "9" * 5000, r"annotation.txt:6: instance '9{40}' is not a number"),
        ("-cat1,2", "bird3,3", "instance 3 of video 'bird3' has two sentences"),
        ("the bird flies", "  ", r"annotation.txt:6: has no caption"),
        ("the bird flies", "???", r"annotation.txt:6: has no word \('\?\?\?'\)"),
    ],
)
def test_a_bad_line_is_left_out_alone(root: Path, old: str, new: str, reason: str) -> None:
    n = sum(len(video.expressions) for video in open_split(root, "test", None).videos())
    replace(root / SENTENCES, old, new)
    split = open_split(root, "test", None)
    (message,) = split.left_out
    assert re.search(reason, message) and str(root) in message
    assert not any(video.defect for video in split.videos())
    answered = sum(len(video.expressions) for video in split.videos())
    assert answered == n - ("instance" in reason)  # without a caption it stays, and is answered with nothing


def test_a_missing_clip_is_its_videos_defect(root: Path) -> None:
    (root / "Release/clips320H/bird3.mp4").unlink()
    cat, bird = open_split(root, "test", None).videos()
    assert "bird3.mp4: the clip does not exist" in bird.defect and str(root) in bird.defect and not cat.defect


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("Release/videoset.csv", "9,2,1", "9,2,2", r"videoset.csv:1: subset '2'"),
        ("Release/videoset.csv", "9,2,1", "9,2", r"videoset.csv:1: holds 8 cells instead of 9"),
        ("Release/videoset.csv", "-cat1", "../cat1", r"videoset.csv:1: video id '../cat1' cannot be used as a path"),
        ("Release/videoset.csv", "-cat1", "a/b", r"videoset.csv:1: video id 'a/b' holds a '/'"),
        ("Release/videoset.csv", "-cat1", "bird3", r"videoset.csv:3: video 'bird3' is listed twice"),
        (SENTENCES, "video_id", "video", "the header is 'video,instance_id,query'"),
        (SENTENCES, "bird3,3,", "bird9,3,", r"annotation.txt:6: video 'bird9' is not in Release/videoset.csv"),
        (SENTENCES, 'rolling"', "rolling", r"annotation.txt:\d: broken line"),
        (SENTENCES, "bird3,3,the", "bird3", r"annotation.txt:6: holds 1 cells instead of 3"),
    ],
)
def test_a_broken_table_is_refused(root: Path, file: Path, old: str, new: str, reason: str) -> None:
    replace(root / file, old, new)
    with pytest.raises(ValueError, match=reason):
        open_split(root, "test", None)


@pytest.mark.parametrize(
    "file", ["Release/videoset.csv", "text_annotations/a2d_annotation.txt", "text_annotations/a2d_missed_videos.txt"]
)
def test_a_missing_or_foreign_table_is_named(root: Path, file: str) -> None:
    for change in (lambda path: path.write_bytes(b"\xff\xfea,b"), Path.unlink, Path.mkdir):
        change(root / file)
        with pytest.raises(ValueError, match=Path(file).name):
            open_split(root, "test", None)
    with pytest.raises(ValueError, match="splits train and test, not 'valid'"):
        open_split(root, "valid", None)


def test_a_table_that_may_be_cut_is_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = root / SENTENCES
    path.write_text(path.read_text()[:-4])
    open_split(root, "test", None)
    assert "a2d_annotation.txt: the last line does not end" in caplog.text


def test_an_instance_without_sentence_is_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_h5(root / FRAMES / "bird3/00009.h5", [3, 5], [BIRD, CAT])
    split = open_split(root, "test", None)
    assert list(split.annotations(split.videos()[1])) == ["3"]
    assert "00009.h5: instance 5 of video 'bird3' has no sentence" in caplog.text


def test_too_few_frames_name_the_clip_and_the_options(root: Path) -> None:
    make_video(root / "Release/clips320H/-cat1.mp4", 6, (64, 48))
    split = open_split(root, "test", None)
    with pytest.raises(ValueError, match=r"00007.h5: annotates frame 7, but .*-cat1.mp4 has 6 frames.*frames\.fps"):
        split.annotations(split.videos()[0])


def _missing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _numbered(name: str) -> Callable[[Path], None]:
    return lambda folder: write_h5(folder / name, [1], [CAT])


def _holds(**arrays: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with h5py.File(folder / "00003.h5", "w") as file:
            for name, array in arrays.items():
                file[name] = array

    return write


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_missing, "-cat1: holds no annotated frame"),
        (_numbered("00000.h5"), "00000.h5: its name is not a frame number"),
        (_numbered("first.h5"), "first.h5: its name is not a frame number"),
        (_numbered("0007.h5"), "0007.h5: its name is not a frame number from 1, or another"),
        (_numbered("00010.h5"), "00010.h5: annotates frame 10"),
        (lambda f: (f / "00003.h5").write_bytes(b"no HDF5"), "00003.h5: not readable as HDF5"),
        (
            lambda f: write_h5(f / "00003.h5", [1], [box(slice(1), slice(1), (5, 6))]),
            r"others of the video are \(5, 6\)",
        ),
        (_holds(instance=[1]), "00003.h5: holds no dataset 'reMask'"),
        (_holds(instance=[1], reMask="text"), "'reMask' is of kind object"),
        (_holds(instance=[1, 2], reMask=CAT.T), r"reMask \(1, 64, 48\) for 2 instances"),
        (_holds(instance=[1.5], reMask=CAT.T), "not distinct whole numbers"),
        (_holds(instance=[1, 1], reMask=np.stack([CAT.T, CAT.T])), "not distinct whole numbers"),
        (_holds(instance=[-1], reMask=CAT.T), "not distinct whole numbers"),
        (_holds(instance=[1], reMask=np.zeros((0, 4))), r"'reMask' has shape \(0, 4\)"),
        (_holds(instance=[1], reMask=h5py.ExternalLink("/etc/x.h5", "reMask")), "holds no dataset 'reMask'"),
    ],
)
def test_damaged_masks_name_their_file(root: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(root / FRAMES / "-cat1")
    split = open_split(root, "test", None)
    cat, bird = split.videos()
    with pytest.raises(ValueError, match=reason):
        split.annotations(cat)
    assert split.annotations(bird)


def test_whole_floats_and_surplus_masks_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["instance"] = np.array([[3.0]])
        file["reMask"] = np.stack([CAT.T, MAN.T]).astype(np.float64)
    found = read_instances(tmp_path / "a.h5")
    assert list(found) == [3] and found[3] == masks.encode(CAT)
