"""The ReVOS reader and mask dictionaries, on small trees in exactly the published layout."""

from pathlib import Path
from typing import Any

import pytest
from support.defects import wrong_expressions
from support.trees_pngs import SIZE, write_frames
from support.trees_revos import FOREGROUND, MASKS, UVO, VALID, plant_revos, rle

from stages.core.media import masks
from stages.core.state.graph import EXTRACT_FRAMES, Layout
from stages.datasets.mask_dict import read_masks
from stages.datasets.revos import open_split


def changed(video: str = UVO, **expression: Any) -> dict[str, Any]:
    """The index with another expression 5 in a video."""
    entry = VALID[video]
    return VALID | {video: entry | {"expressions": entry["expressions"] | {"5": expression}}}


def test_reads_the_index(tmp_path: Path) -> None:
    split = open_split(plant_revos(tmp_path), "valid", None)
    dog, _ = split.videos()
    assert (split.name, split.protocol, split.has_truth) == ("valid", "revos", True)
    assert (dog.id, dog.frames, dog.defect) == (UVO, ("00003", "00004", "00009"), "")
    assert dog.location == tmp_path / "JPEGImages/UVO/all/2E4T5NCywcE" and dog.location.is_dir()
    assert [(e.id, e.text, e.annotations, e.group) for e in dog.expressions] == [
        ("0", "the dog", ("7",), "referring"),
        ("1", "what could bite?", ("7", "8"), "reasoning"),
        ("2", "the flying pig", (), "hallucination"),
        ("3", "the dog", ("9",), "referring"),
    ]
    assert split.void(dog) is split.scored_frames(dog) is None
    assert Layout(tmp_path, "revos", "valid").file(EXTRACT_FRAMES, dog.id).name == "2E4T5NCywcE.json"


def test_overlapping_null_and_all_null_masks(tmp_path: Path) -> None:
    split = open_split(plant_revos(tmp_path), "valid", None)
    dog, single = split.videos()
    found = split.annotations(dog)
    assert list(found) == ["7", "8", "9"]
    assert [rle is None for rle in found["7"]] == [False, True, False]
    assert list(found["9"]) == [None, None, None]
    first, second = found["7"][0], found["8"][0]
    assert first is not None and second is not None
    assert (masks.decode(first) & masks.decode(second)).sum() == 12  # neither loses the two shared columns
    assert masks.area([masks.union([first, second], SIZE)])[0] == 54
    assert list(split.annotations(single)) == ["10"]


def test_foreground(tmp_path: Path) -> None:
    split = open_split(plant_revos(tmp_path), "valid", None)
    dog, single = split.videos()
    found = split.foreground(dog)
    assert found is not None and found[1] is None and found[0] is not None
    assert masks.area([found[0]])[0] == 54
    alone = split.foreground(single)
    assert alone is not None and len(alone) == 1


def test_without_a_foreground_file_there_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    split = open_split(plant_revos(tmp_path), "valid", None)
    (tmp_path / "mask_dict_foreground.json").unlink()
    assert [split.foreground(video) for video in split.videos()] == [None, None]
    assert caplog.text.count("robustness (R) cannot be scored") == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({UVO: {}}, "is missing"),
        ({UVO: {"masks_rle": [None]}}, "holds 1 masks for 3 frames"),
        ({UVO: {"masks_rle": [None, None, {"size": [2, 2], "counts": ""}]}}, "mask 2: .*empty"),
    ],
)
def test_a_bad_foreground_fails_its_video_alone(tmp_path: Path, change: Any, reason: str) -> None:
    split = open_split(plant_revos(tmp_path, foreground=FOREGROUND | change), "valid", None)
    dog, single = split.videos()
    with pytest.raises(ValueError, match=rf"mask_dict_foreground\.json: video '{UVO}'.*{reason}"):
        split.foreground(dog)
    assert split.foreground(single)


@pytest.mark.parametrize("type_id", [None, 3, -1, "0", True, [0]])
def test_a_bad_type_is_a_defect(tmp_path: Path, type_id: Any) -> None:
    videos = changed(exp="x", obj_id=[0], anno_id=[7], type_id=type_id)
    dog, single = open_split(plant_revos(tmp_path, videos), "valid", None).videos()
    assert f"video '{UVO}', expression '5': type_id is {type_id!r}" in wrong_expressions(dog) and single.defect == ""


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ({"exp": " ", "anno_id": [7], "type_id": 0}, "has no caption"),
        ({"exp": "x", "obj_id": [4], "anno_id": [], "type_id": 0}, "has obj_id"),
        ({"exp": "x", "anno_id": {"a": 1}, "type_id": 0}, "anno_id is"),
    ],
)
def test_a_bad_expression_is_a_defect(tmp_path: Path, expression: dict[str, Any], reason: str) -> None:
    dog, single = open_split(plant_revos(tmp_path, changed(**expression)), "valid", None).videos()
    assert f"meta_expressions_valid_.json: video '{UVO}', expression '5': {reason}" in wrong_expressions(dog)
    assert single.defect == ""


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ([rle(0, 6)], "holds 1 masks for 3 frames"),
        (None, "is missing"),
        ([rle(0, 6), None, {"size": [3, 3], "counts": "9"}], r"mask 2: is of size \(3, 3\)"),
        # runs that add up to less: pycocotools would read memory that was never set, or never end
        ([rle(0, 6), None, {"size": [*SIZE], "counts": "9"}], "mask 2: .*9 pixels instead of 192"),
        ([rle(0, 6), None, {"size": [*SIZE], "counts": ""}], "mask 2: .*empty"),
    ],
)
def test_bad_masks_fail_their_video_alone(tmp_path: Path, mask: Any, reason: str) -> None:
    split = open_split(plant_revos(tmp_path, masks_=MASKS | {"8": mask}), "valid", None)
    dog, single = split.videos()
    with pytest.raises(ValueError, match=rf"annotation 8 \(video '{UVO}', expression '1'\).*{reason}"):
        split.annotations(dog)
    assert split.annotations(single)


def test_masks_of_another_size_than_the_frames_are_refused(tmp_path: Path) -> None:
    split = open_split(plant_revos(tmp_path), "valid", None)
    dog = split.videos()[0]
    write_frames(dog.location, ["00003"], (24, 32))
    with pytest.raises(ValueError, match=r"annotation 7 .*\(12, 16\).*00003\.jpg is \(24, 32\)"):
        split.annotations(dog)


def test_an_id_that_leaves_the_root_is_refused(tmp_path: Path) -> None:
    for name in ("UVO/../../up", "/abs", "UVO//x"):
        with pytest.raises(ValueError, match=r"meta_expressions_valid_\.json: video id"):
            open_split(plant_revos(tmp_path, {name: VALID[UVO]}), "valid", None)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    plant_revos(tmp_path)
    with pytest.raises(ValueError, match=r"meta_expressions_train_\.json: the index does not exist"):
        open_split(tmp_path, "train", None)
    (tmp_path / "mask_dict.json").unlink()
    with pytest.raises(ValueError, match=r"mask_dict\.json: does not exist"):
        open_split(tmp_path, "valid", None)


def test_the_total_of_both_splits_is_compared(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plant_revos(plant_revos(tmp_path), {"other": VALID["UVO/all/single"]}, split="train")
    assert [v.id for v in open_split(tmp_path, "train", None).videos()] == ["other"]
    assert "3 videos with 6 expressions; published: 1042 videos with 35074 expressions" in caplog.text
    (tmp_path / "meta_expressions_train_.json").write_text("{")
    assert len(open_split(tmp_path, "valid", 1).videos()) == 1  # a broken train is no reason to refuse valid
    assert "meta_expressions_train_.json:1:2: broken JSON" in caplog.text


def test_one_size_holds_across_the_masks_of_a_video() -> None:
    size = (3, 3)
    with pytest.raises(ValueError, match=r"here, mask 0: is of size \(12, 16\), others of the video are \(3, 3\)"):
        read_masks([rle(0, 2)], 1, size, "here")
