"""The reader of a folder of own videos: what it finds, what is a defect of one video, what it refuses."""

import json
import logging
from pathlib import Path

import pytest
from support.project import CLIPS
from support.video_files import NO_CLIPS

from stages.datasets.folder import open_split
from stages.datasets.index_file import load_index


def make_root(root: Path, index, files=(), frames=()) -> Path:
    """A root with empty files and frame folders: the reader looks at names alone."""
    root.mkdir(exist_ok=True)
    (root / "expressions.json").write_text(index if isinstance(index, str) else json.dumps(index), encoding="utf-8")
    for file in [*files, *frames]:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"123")
    return root


def read(root: Path, limit=None):
    return {video.id: video for video in open_split(root, "all", limit).videos()}


def test_lists_and_objects_with_and_without_extension(tmp_path):
    root = make_root(
        tmp_path,
        {"b.mp4": ["The  Dog ", "the cat"], "a": {"near": "the car"}, "sub/c": ["x"]},
        ["b.mp4", "a.MOV", "sub/c.webm"],
    )
    split = open_split(root, "all", None)
    videos = split.videos()
    assert (split.name, split.has_truth) == ("all", False)
    assert [video.id for video in videos] == ["b", "a", "sub/c"]  # the order of the index
    assert [video.location for video in videos] == [root / "b.mp4", root / "a.MOV", root / "sub/c.webm"]
    assert [(e.id, e.text, e.raw) for e in videos[0].expressions] == [
        ("0", "the dog", "The Dog"),
        ("1", "the cat", "the cat"),
    ]
    assert [e.id for e in videos[1].expressions] == ["near"]
    assert all(e.annotations is None for v in videos for e in v.expressions)
    assert all((v.frames, v.cost, v.defect) == ((), 3, "") for v in videos)
    assert split.annotations(videos[0]) == {}
    assert list(read(root, limit=2)) == ["b", "a"]


def test_frame_folders_are_in_natural_order(tmp_path):
    names = ["10.jpg", "2.jpg", "1.jpg", "f10.jpg", "f2.jpg", "f2b.jpg", "f2b3.jpg"]
    root = make_root(tmp_path, {"walk": ["a"]}, frames=[f"walk/{name}" for name in [*names, "notes.txt", ".x.jpg"]])
    video = read(root)["walk"]
    assert video.frames == ("1", "2", "10", "f2", "f2b", "f2b3", "f10")
    assert video.defect == "" and video.cost > 0


@pytest.mark.parametrize(
    ("index", "files", "reason"),
    [
        ({"bad": ["a", "  "]}, ["bad.mp4"], "expression '1' is empty"),
        ({"bad": ["a", 7]}, ["bad.mp4"], "expression '1' is not a sentence but 7"),
        ({"bad": []}, ["bad.mp4"], "has no expressions"),
        ({"bad": "the dog"}, ["bad.mp4"], "has no expressions"),
        ({"bad": ["a"]}, [], "no such video"),
        ({"bad.mov": ["a"]}, ["bad.mp4"], "no such video"),
        ({"bad": ["a"]}, ["bad.mp4", "bad.mov"], "bad.mov and bad.mp4 share this name"),
        ({"bad": ["a"]}, ["bad.mp4", "bad/0.jpg"], "share this name"),
        ({"bad": ["a"]}, ["bad/notes.txt"], "holds no .jpg or .png frame"),
        ({"bad": ["a"]}, ["bad/0.jpg", "bad/0.png"], "frame '0' is there twice"),
        ({"bad.mp4": ["a"], "bad": ["b"]}, ["bad.mp4"], "'bad.mp4' and 'bad' name one video"),
    ],
)
def test_what_is_wrong_with_one_video_is_its_defect(tmp_path, index, files, reason):
    videos = read(make_root(tmp_path, {**index, "good": ["a"]}, [*files, "good.mp4"]))
    assert set(videos) == {"bad", "good"}
    assert reason in videos["bad"].defect and str(tmp_path) in videos["bad"].defect
    assert videos["good"].defect == ""


def test_sound_expressions_stay_beside_an_empty_one(tmp_path):
    video = read(make_root(tmp_path, {"a": ["x", "", "y"]}, ["a.mp4"]))["a"]
    assert [e.id for e in video.expressions] == ["0", "2"] and video.defect


def test_an_extension_decides_between_files_of_one_stem(tmp_path):
    video = read(make_root(tmp_path, {"a.mov": ["x"]}, ["a.mp4", "a.mov"]))["a"]
    assert video.location.name == "a.mov" and not video.defect


def test_videos_without_an_entry_are_warned_of(tmp_path, caplog):
    files = ["a.mp4", "extra.mkv", ".hidden.mp4", "readme.txt", "sub/b.gif", "sub/c.gif"]
    root = make_root(tmp_path, {"a": ["x"], "sub/b": ["y"]}, files, ["frames/0.png", "other/readme.txt"])
    with caplog.at_level(logging.WARNING):
        assert set(read(root)) == {"a", "sub/b"}
    warned = {Path(record.getMessage().split(":")[0]).relative_to(root).as_posix() for record in caplog.records}
    assert warned == {"extra.mkv", "sub/c.gif", "frames"}


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", "", ".hidden", "a\\b", "./a"])
def test_unsafe_names_refuse_the_index(tmp_path, name):
    with pytest.raises(ValueError, match=r"expressions\.json: video id .*cannot be used as a path"):
        read(make_root(tmp_path, {"good": ["a"], name: ["b"]}, ["good.mp4"]))


@pytest.mark.parametrize("identifier", ["..", "a/b", "", "/a"])
def test_unsafe_expression_ids_refuse_the_index(tmp_path, identifier):
    with pytest.raises(ValueError, match=r"expressions\.json: expression id"):
        read(make_root(tmp_path, {"good": {identifier: "a"}}, ["good.mp4"]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": ["x"],\n "b": [}', r"expressions\.json:2:8: broken JSON"),
        ('{"a": ["x"], "a": ["y"]}', "key 'a' is given twice"),
        ('{"a": {"0": "x", "0": "y"}}', "key '0' is given twice"),
        ('["a"]', "an index is a JSON object; found list"),
        ("", r"expressions\.json:1:1: broken JSON"),
    ],
)
def test_broken_indices_are_refused(tmp_path, content, reason):
    with pytest.raises(ValueError, match=reason):
        read(make_root(tmp_path, content))


def test_missing_root_and_index_are_named(tmp_path):
    with pytest.raises(ValueError, match="none: the folder of videos does not exist"):
        read(tmp_path / "none")
    with pytest.raises(ValueError, match=r"expressions\.json: the index does not exist"):
        read(tmp_path)


def test_index_must_be_utf8(tmp_path):
    (tmp_path / "index.json").write_bytes('{"é": 1}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"index\.json: not UTF-8"):
        load_index(tmp_path / "index.json")


@pytest.mark.skipif(not CLIPS.is_dir(), reason=NO_CLIPS)
def test_real_folder():
    videos = read(CLIPS)
    assert {v.id: len(v.expressions) for v in videos.values()} == {
        "01_dog": 4,
        "02_cups": 4,
        "05_default_juggle": 3,
        "08_driving": 2,
        "bedroom": 3,
    }
    assert all(not v.defect and v.location.is_file() for v in videos.values())
