"""The Ref-YouTube-VOS reader and label images, on small trees in exactly the published layout."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.defects import wrong_expressions
from support.project import CONFIG
from support.trees_pngs import SIZE, labels, write_frames, write_labels
from support.trees_ytvos import LEFT, RIGHT, ROWS, TRAIN, plant_train, plant_valid, write_index

from stages.core.config.loading import load_config
from stages.core.digests import digest
from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.core.state.fingerprints import expressions_digest
from stages.datasets import open_split as open_configured
from stages.datasets.palette import label_masks, read_labels
from stages.datasets.ref_youtube_vos import open_split


def test_reads_train(tmp_path: Path) -> None:
    split = open_split(plant_train(tmp_path), "train", None)
    dog, single = split.videos()
    assert (split.name, split.protocol, split.has_truth) == ("train", "ytvos", True)
    assert (dog.id, dog.defect, dog.cost) == ("0788b4033d", "", 3)
    assert dog.frames == ("00150", "00155", "00165") and single.frames == ("00000",)
    assert dog.location == tmp_path / "train/JPEGImages/0788b4033d"
    assert [(e.id, e.text, e.annotations, e.group) for e in dog.expressions] == [
        ("0", "a dog on the left", ("1",), ""),
        ("1", "a cat", ("2",), ""),
        ("10", "a cat", ("2",), ""),
        ("2", "never seen", ("3",), ""),
    ]
    assert split.void(dog) is split.foreground(dog) is split.scored_frames(dog) is None


def test_masks_are_those_of_the_palette_index(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    split = open_split(plant_train(tmp_path), "train", None)
    dog, single = split.videos()
    found = split.annotations(dog)
    assert list(found) == ["1", "2", "3"]
    left, right = labels((1, ROWS, LEFT)), labels((1, ROWS, RIGHT))
    assert found["1"] == [masks.encode(left), None, None]
    assert found["2"] == [masks.encode(right), masks.encode(right), None]
    assert found["3"] == [None, None, None]
    assert "video '0788b4033d', expression '2': no frame shows object 3" in caplog.text
    assert split.annotations(single) == {"1": [masks.encode(left)]}


def test_valid_is_without_the_videos_of_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    split = open_split(plant_valid(tmp_path), "valid", None)
    assert [video.id for video in split.videos()] == ["1335b16cf9", "8d803e87f7"]
    assert [e.text for e in split.videos()[0].expressions] == ["x", "x"]
    assert "2 videos with 4 expressions; published: 202 videos with 834 expressions" in caplog.text


def test_first_frame_masks_of_valid_are_no_ground_truth(tmp_path: Path) -> None:
    split = open_split(plant_valid(tmp_path), "valid", 1)
    (video,) = split.videos()
    assert not split.has_truth and split.annotations(video) == {}
    assert [e.annotations for e in video.expressions] == [None, None]


def test_without_the_test_index_a_warning_names_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant_valid(tmp_path)
    (tmp_path / "meta_expressions/test/meta_expressions.json").unlink()
    assert len(open_split(tmp_path, "valid", None).videos()) == 3
    assert "test/meta_expressions.json: does not exist" in caplog.text


@pytest.mark.parametrize("obj_id", [None, "", "a", "0", "-1", "1.5", ["1"], True, "9" * 5000])
def test_a_bad_obj_id_is_a_defect_of_its_expression(tmp_path: Path, obj_id: object) -> None:
    plant_train(tmp_path)
    bad = {"frames": ["00000"], "expressions": {"7": {"exp": "x", "obj_id": obj_id}}}
    write_index(tmp_path, "train", TRAIN | {"bad": bad})
    dog, single, video = open_split(tmp_path, "train", None).videos()
    assert dog.defect == single.defect == ""
    assert "meta_expressions.json: video 'bad', expression '7': " in wrong_expressions(video)
    assert "obj_id" in wrong_expressions(video)


@pytest.mark.parametrize(
    ("frames", "reason"), [(["00005", "00000"], "00000 is out of order"), (["00000"] * 2, "more than once")]
)
def test_disordered_frames_are_a_defect(tmp_path: Path, frames: list[str], reason: str) -> None:
    write_index(tmp_path, "valid", {"v": {"frames": frames, "expressions": {"0": {"exp": "x"}}}})
    (video,) = open_split(tmp_path, "valid", None).videos()
    assert reason in video.defect


def test_lost_annotations_are_not_taken_for_an_unlabelled_split(tmp_path: Path) -> None:
    write_index(tmp_path, "train", TRAIN)
    with pytest.raises(ValueError, match=r"video '0788b4033d', expression '0' refers to an object, but .*Annotations"):
        open_split(tmp_path, "train", None)


def remove_map(folder: Path) -> None:
    (folder / "00155.png").unlink()


def cut_map(folder: Path) -> None:
    file = folder / "00155.png"
    file.write_bytes(file.read_bytes()[:-30])


def colour_map(folder: Path) -> None:
    Image.open(folder / "00155.png").convert("RGB").save(folder / "00155.png")


def resize_map(folder: Path) -> None:
    write_labels(folder / "00155.png", labels(size=(5, 5)))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_map, "does not exist"),
        (cut_map, "not readable"),
        (colour_map, "mode RGB"),
        (resize_map, r"size \(5, 5\)"),
    ],
)
def test_bad_label_images_fail_their_video_alone(tmp_path: Path, damage: object, reason: str) -> None:
    split = open_split(plant_train(tmp_path), "train", None)
    dog, single = split.videos()
    assert callable(damage)
    damage(tmp_path / "train/Annotations/0788b4033d")
    with pytest.raises(ValueError, match=reason) as caught:
        split.annotations(dog)
    assert "00155.png" in str(caught.value) and "video '0788b4033d'" in str(caught.value)
    assert split.annotations(single)


def test_masks_of_another_size_than_the_frames_are_refused(tmp_path: Path) -> None:
    split = open_split(plant_train(tmp_path), "train", None)
    dog = split.videos()[0]
    write_frames(dog.location, ["00150"], (24, 32))
    with pytest.raises(ValueError, match=r"size \(12, 16\).*00150\.jpg is \(24, 32\)"):
        split.annotations(dog)


def test_palette_index_2_is_label_2_not_75(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    write_labels(path, labels((1, ROWS, LEFT), (2, ROWS, RIGHT)))
    assert np.array_equal(np.unique(read_labels(path)), [0, 1, 2])
    assert np.unique(np.asarray(Image.open(path).convert("L"))).max() == 75  # the trap is there
    assert list(label_masks([path])) == [1, 2]


def test_gray_and_two_colour_label_images(tmp_path: Path) -> None:
    map_HW = labels((1, ROWS, LEFT))
    Image.fromarray(map_HW, "L").save(tmp_path / "gray.png")
    Image.fromarray(map_HW * 255, "L").convert("1").save(tmp_path / "bits.png")
    assert np.array_equal(read_labels(tmp_path / "gray.png"), map_HW)
    assert np.array_equal(read_labels(tmp_path / "bits.png"), map_HW)
    assert label_masks([tmp_path / "gray.png"])[1][0] == masks.encode(map_HW)
    assert masks.decode(masks.encode(map_HW)).shape == SIZE


def test_the_config_knows_the_set_and_names_what_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"datasets: {{ref_youtube_vos: {{root: {tmp_path / 'set'}, splits: {{train: {{limit: 1}}}}}}}}")
    config = load_config(CONFIG, overlay)
    with pytest.raises(ValueError, match=r"set does not exist; .*datasets\.ref_youtube_vos\.root"):
        open_configured(config, "ref_youtube_vos", "train")
    plant_train(tmp_path / "set")
    with caplog.at_level(logging.WARNING):
        assert len(open_configured(config, "ref_youtube_vos", "train").videos()) == 1
    assert "2 videos with 5 expressions; published: 3471 videos with 12913 expressions" in caplog.text
    with pytest.raises(ValueError, match="the root holds meta_expressions, train"):
        open_configured(config, "ref_youtube_vos", "valid")


def test_groups_do_not_enter_the_digest_of_expressions() -> None:
    videos = [
        Video("v", ("0",), Path("v"), (Expression("0", "a cat", None, "a cat", group=group),), 1)
        for group in ("", "reasoning")
    ]
    assert {expressions_digest(video) for video in videos} == {digest([["0", "a cat"]])}
