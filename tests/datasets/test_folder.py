"""The reader of a folder of own videos: what it finds, what is a defect of one video, what it refuses."""

import json
import logging
import os
import re
import unicodedata
from pathlib import Path

import pytest
from support.project import CLIPS, make_config
from support.video_files import NO_CLIPS, make_video

from stages.datasets.check import check_split
from stages.datasets.folder import open_split
from stages.datasets.folder_listing import in_order
from stages.datasets.index_file import load_index
from stages.datasets.listing import split_listing


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
        ({"bad": [" ", 7]}, ["bad.mp4"], "expression '0' is empty.*expression '1' is not a sentence but 7"),
        ({"bad": []}, ["bad.mp4"], "has no expressions"),
        ({"bad": {}}, ["bad.mp4"], "has no expressions"),
        ({"bad": "the dog"}, ["bad.mp4"], r'has a sentence where a list is needed; write \["the dog"\]'),
        ({"bad": ["a"]}, [], "no such video"),
        ({"bad.mov": ["a"]}, ["bad.mp4"], "no such video or frame folder; did you mean 'bad.mp4'"),
        ({"bud": ["a"]}, ["bad.mp4"], "no such video or frame folder; did you mean 'bad.mp4'"),
        ({"bad": ["a"]}, ["bad.mp4", "bad.mov"], "bad.mov and bad.mp4 share this name"),
        ({"bad": ["a"]}, ["bad.mp4", "bad/0.jpg"], r"share this name; .*give the extension .*'bad.mp4'"),
        ({"bad": ["a"]}, ["bad/notes.txt"], r"holds no frame of a kind that is read \(.jpg"),
        ({"bad": ["a"]}, ["bad/1.heic", "bad/2.heic"], "; it has 2 .heic; put frames there"),
        ({"bad": ["a"]}, ["bad/0.jpg", "bad/0.png"], "frame '0' is there twice"),
        ({"bad": ["a"]}, ["bad/0.jpg", "bad/\udcff.png"], r"the name of frame '\\udcff' is not in UTF-8"),
        ({"bad.mp4": ["a"], "bad": ["b"]}, ["bad.mp4"], "'bad.mp4' and 'bad' name one video"),
        ({"bad": ["a"]}, ["bad.mxf"], r"bad.mxf: present, but of a kind that is not read \(.mxf\)"),
        ({"bad.heic": ["a"]}, ["bad.heic"], r"bad.heic: a single picture \(.heic\), not a video; put it into a folder"),
    ],
)
def test_what_is_wrong_with_one_video_is_its_defect(tmp_path, index, files, reason):
    videos = read(make_root(tmp_path, {**index, "good": ["a"]}, [*files, "good.mp4"]))
    assert len(videos) == 2
    (bad,) = (video for name, video in videos.items() if name != "good")
    assert re.search(reason, bad.defect) and str(tmp_path) in bad.defect
    assert videos["good"].defect == ""


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("???", "has no word"),
        ("\u200b\u200b", "has no word"),
        ("🐕", "has no word"),
        (7, "is not a sentence but 7"),
        (None, "is not a sentence but None"),
    ],
)
def test_a_bad_sentence_is_left_out_alone(tmp_path, sentence, reason):
    split = open_split(make_root(tmp_path, {"a": ["x", sentence, "y"]}, ["a.mp4"]), "all", None)
    (video,) = split.videos()
    assert [e.id for e in video.expressions] == ["0", "2"] and not video.defect
    (message,) = split.left_out
    assert f"expression '1' {reason}" in message and str(tmp_path / "expressions.json") in message


def test_an_extension_decides_between_files_of_one_stem(tmp_path):
    video = read(make_root(tmp_path, {"a.mov": ["x"]}, ["a.mp4", "a.mov"]))["a"]
    assert video.location.name == "a.mov" and not video.defect


@pytest.mark.parametrize(
    "suffix", [".avi", ".m4v", ".TS", ".mts", ".3gp", ".wmv", ".flv", ".mpg", ".webp", ".apng", ".png"]
)
def test_other_kinds_of_videos_are_found(tmp_path, suffix):
    root = make_root(tmp_path, {"a": ["x"], f"b{suffix}": ["y"]}, [f"a{suffix}", f"b{suffix}"])
    videos = read(root)
    assert {name: video.location.name for name, video in videos.items()} == {"a": f"a{suffix}", "b": f"b{suffix}"}
    assert not any(video.defect for video in videos.values())


def test_a_picture_beside_a_video_or_folder_is_no_twin(tmp_path):
    root = make_root(tmp_path, {"a": ["x"], "b": ["y"]}, ["a.mp4", "a.png", "b.webp"], ["b/0.jpg"])
    videos = read(root)
    assert [video.location.name for video in videos.values()] == ["a.mp4", "b"]
    assert not any(video.defect for video in videos.values())


def test_a_file_without_an_extension_is_asked_what_it_is(tmp_path):
    video = read(make_root(tmp_path, {"recording": ["x"]}, ["recording"]))["recording"]
    assert video.location.name == "recording" and not video.defect


@pytest.mark.parametrize("kind", [".tif", ".TIFF", ".webp", ".bmp"])
def test_frames_of_other_kinds_are_found(tmp_path, kind):
    video = read(make_root(tmp_path, {"a": ["x"]}, frames=[f"a/2{kind}", f"a/10{kind}"]))["a"]
    assert video.frames == ("2", "10") and not video.defect


def test_pictures_that_are_not_read_are_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        video = read(make_root(tmp_path, {"a": ["x"]}, frames=["a/1.jpg", "a/2.heic", "a/3.heic"]))["a"]
    assert video.frames == ("1",)
    assert "2 pictures are of a kind that is not read (.heic)" in caplog.text


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["t-0.5", "t-0.25", "t-10.0", "t-2.0"], ["t-0.25", "t-0.5", "t-2.0", "t-10.0"]),  # seconds
        ([f"s1.{i}" for i in range(1, 12)], [f"s1.{i}" for i in range(1, 12)]),  # a counter
        (["f.0002", "f.0010"], ["f.0002", "f.0010"]),
        (["a0.5", "b0.25"], ["a0.5", "b0.25"]),
        (["1", "01", "2", "x"], ["01", "1", "2", "x"]),
    ],
)
def test_times_go_by_their_value_and_counters_by_theirs(names, order):
    assert in_order(reversed(names)) == order


def test_frames_that_differ_in_zeros_alone_are_warned_of(tmp_path, caplog):
    read(
        make_root(
            tmp_path, {"a": ["x"], "b": ["y"]}, frames=["a/1.png", "a/001.png", "a/2.png", "b/f1_10.png", "b/f11_0.png"]
        )
    )
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{tmp_path}/a: frames '001' and '1' have one number")


def test_a_long_name_counts_without_its_extension(tmp_path):
    name = "x" * 200
    assert list(read(make_root(tmp_path, {f"{name}.mp4": ["x"]}, [f"{name}.mp4"]))) == [name]
    root = make_root(tmp_path / "twins", {f"{name}.mp4": ["x"], f"{name}.mkv": ["y"]}, [f"{name}.mp4", f"{name}.mkv"])
    assert "name one video" in read(root)[name].defect


def test_unicode_forms_are_one_name(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "café/straße é") for form in ("NFC", "NFD"))
    assert composed != decomposed
    for number, (indexed, stored) in enumerate([(composed, decomposed), (decomposed, composed)]):
        root = make_root(tmp_path / str(number), {indexed: ["a"]}, [f"{stored}.mp4"])
        (video,) = read(root).values()
        assert (video.id, video.location, video.defect) == (composed, root / f"{stored}.mp4", "")
    both = make_root(tmp_path / "both", {composed: ["a"]}, [f"{composed}.mp4", f"{decomposed}.mp4"])
    (video,) = read(both).values()
    assert video.location == both / f"{composed}.mp4"  # as the index spells it
    names = {f"{composed}.mp4": ["a"], f"{decomposed}.mp4": ["b"]}
    (video,) = read(make_root(tmp_path / "both", names)).values()
    assert "name one video" in video.defect


def test_two_files_of_one_stem_are_two_videos_where_the_index_names_both(tmp_path):
    videos = read(make_root(tmp_path, {"a.mp4": ["x"], "b": ["y"], "a.mkv": ["z"]}, ["a.mp4", "a.mkv", "b.gif"]))
    assert {name: video.location.name for name, video in videos.items()} == {
        "a.mp4": "a.mp4",
        "b": "b.gif",
        "a.mkv": "a.mkv",
    }
    videos = read(make_root(tmp_path / "other", {"a.mp4": ["x"], "a": ["z"]}, ["a.mp4", "a/0.png"]))
    assert {name: video.location.name for name, video in videos.items()} == {"a.mp4": "a.mp4", "a": "a"}
    assert not any(video.defect for video in videos.values())


def test_videos_without_an_entry_are_warned_of_in_one_line(tmp_path, caplog):
    files = ["a.mp4", "a.mkv", ".hidden.mp4", "readme.txt", "poster.png", "sub/b.gif", "sub/c.gif"]
    root = make_root(tmp_path, {"a.mp4": ["x"], "sub/b": ["y"]}, files, ["frames/0.png", "other/readme.txt"])
    with caplog.at_level(logging.WARNING):
        assert set(read(root)) == {"a", "sub/b"}
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{root}/a.mkv and 2 more have no entry in {root}/expressions.json")


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", "", ".hidden", "a\\b", "./a"])
def test_an_unsafe_name_is_left_out_alone(tmp_path, name):
    split = open_split(make_root(tmp_path, {"good": ["a"], name: ["b"]}, ["good.mp4"]), "all", None)
    assert [(video.id, video.defect) for video in split.videos()] == [("good", "")]
    assert re.search(r"expressions\.json: video id .*cannot be used as a path", split.left_out[0])
    with pytest.raises(ValueError, match=r"expressions\.json: video id .*cannot be used as a path"):
        read(make_root(tmp_path, {name: ["b"]}))


@pytest.mark.parametrize("identifier", ["..", "a/b", "", "/a"])
def test_an_unsafe_expression_id_is_left_out_alone(tmp_path, identifier):
    root = make_root(tmp_path, {"good": {identifier: "a", "1": "the dog"}}, ["good.mp4"])
    split = open_split(root, "all", None)
    assert [e.id for e in split.videos()[0].expressions] == ["1"] and not split.videos()[0].defect
    assert re.search(r"expressions\.json: video 'good': expression id", split.left_out[0])


def test_check_dataset_lists_what_is_left_out_and_goes_on(tmp_path):
    root = make_root(tmp_path, {"../x": ["a"], "good": ["the dog", "???"]})
    make_video(root / "good.mp4", 2)
    report = check_split(lambda: open_split(root, "all", None))
    assert (report.videos, report.expressions, report.frames) == (1, 1, 2)
    assert [finding.level for finding in report.findings] == ["error", "error"]
    assert "cannot be used as a path" in report.findings[0].message
    assert "expression '1' has no word ('???')" in report.findings[1].message


# ------------------------------------------------------------------------------------------ what has changed


def test_the_listing_changes_with_every_file_that_the_index_names(tmp_path):
    root = make_root(
        tmp_path / "clips", {"sub/a": ["x"], "walk": ["y"]}, ["sub/a.mp4", "other.mp4"], ["walk/0.jpg", "walk/1.jpg"]
    )
    config = make_config(tmp_path / "p", {"datasets": {"clips": {"root": str(root)}}})
    digests = [split_listing(config, "clips", "all")]

    def changed() -> bool:
        digests.append(split_listing(config, "clips", "all"))
        return digests[-1] not in digests[:-1]

    assert not changed()
    (root / "sub/a.mp4").write_bytes(b"12345")  # a nested video is replaced
    assert changed()
    (root / "walk/2.jpg").write_bytes(b"123")  # a frame comes
    assert changed()
    (root / "walk/0.jpg").write_bytes(b"12345678")  # another content
    assert changed()
    os.utime(root / "walk/1.jpg", (1, 1))  # a content of the same size, at another time
    assert changed()
    (root / "walk/1.jpg").unlink()
    assert changed()
    (root / "sub/a.mp4").unlink()
    assert changed()
    before = digests[-1]
    (root / "other.mp4").write_bytes(b"12345")  # nobody's video
    (root / "walk/notes.txt").write_text("no frame")
    assert split_listing(config, "clips", "all") == before
    (root / "expressions.json").write_text("{")
    assert changed()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": ["x"],\n "b": [}', r"expressions\.json:2:8: broken JSON"),
        ('{"a": ["x"], "a": ["y"]}', "key 'a' is given twice"),
        ('{"a": {"0": "x", "0": "y"}}', "key '0' is given twice"),
        ('["a"]', "an index is a JSON object; found list"),
        ("", r"expressions\.json:1:1: broken JSON"),
        ("{}", r"expressions\.json: names no video; write one"),
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


def test_a_byte_order_mark_is_read_over(tmp_path):
    root = make_root(tmp_path, {"a": ["x"]}, ["a.mp4"])
    content = (root / "expressions.json").read_bytes()
    (root / "expressions.json").write_bytes(b"\xef\xbb\xbf" + content)
    assert list(read(root)) == ["a"]


def test_a_pipe_in_place_of_the_index_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "expressions.json")
    with pytest.raises(ValueError, match=r"expressions\.json: .*not readable \(.*not a file\)"):
        read(tmp_path)


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
