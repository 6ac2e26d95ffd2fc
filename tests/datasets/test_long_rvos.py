"""The Long-RVOS reader, on small trees in exactly the published layout."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.defects import wrong_expressions
from support.trees_long_rvos import ROWS, VALID, plant_long_rvos, write_mask
from support.trees_pngs import labels, write_frames

from stages.core.media import masks
from stages.core.state.fingerprints import annotations_digest
from stages.datasets.long_rvos import open_split


def test_reads_the_index_in_the_order_of_the_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    split = open_split(plant_long_rvos(tmp_path), "valid", None)
    video, single = split.videos()
    assert (split.name, split.protocol, split.has_truth) == ("valid", "long_rvos", True)
    assert (video.frames, video.defect, single.defect) == (("00000", "00005", "00010"), "", "")
    assert [(e.id, e.text, e.annotations, e.group) for e in video.expressions] == [
        ("0", "the red car", ("1",), "static"),
        ("1", "the car that turns", ("1",), "dynamic"),
        ("2", "the man who leaves", ("12",), "hybrid"),
        ("3", "somebody hidden", ("3",), "static"),
    ]
    assert split.void(video) is split.foreground(video) is split.scored_frames(video) is None
    assert "2 videos with 5 expressions; published: 112 videos" in caplog.text


def test_a_missing_file_is_an_absent_object(tmp_path: Path) -> None:
    split = open_split(plant_long_rvos(tmp_path), "valid", None)
    video, single = split.videos()
    found = split.annotations(video)
    first, third = (masks.encode(labels((1, ROWS, columns))) for columns in (slice(0, 6), slice(2, 8)))
    assert list(found) == ["1", "12", "3"]
    assert found["1"] == [first, None, third]
    assert list(found["3"]) == [None, None, None]
    assert list(split.annotations(single)) == ["1"]
    assert annotations_digest(video, found) == annotations_digest(video, split.annotations(video))


def test_overlapping_objects_keep_their_pixels(tmp_path: Path) -> None:
    split = open_split(plant_long_rvos(tmp_path), "valid", None)
    found = split.annotations(split.videos()[0])
    car, man = found["1"][0], found["12"][0]
    assert car is not None and man is not None
    assert (masks.decode(car) & masks.decode(man)).sum() == 12


def test_a_black_mask_is_a_mask(tmp_path: Path) -> None:
    split = open_split(plant_long_rvos(tmp_path), "valid", None)
    video = split.videos()[0]
    write_mask(tmp_path / "valid/Annotations/long/1/00005.png", 0, 0)
    mask = split.annotations(video)["1"][1]
    assert mask is not None and masks.area([mask])[0] == 0


def foreign_values(folder: Path) -> None:
    write_mask(folder / "00010.png", 0, 4, value=1)


def wrong_size(folder: Path) -> None:
    Image.fromarray(np.full((5, 6), 255, np.uint8), "L").save(folder / "00010.png")


def damaged(folder: Path) -> None:
    (folder / "00010.png").write_bytes(b"\x89PNG")


def colours(folder: Path) -> None:
    Image.new("RGB", (16, 12)).save(folder / "00010.png")


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def other_names(folder: Path) -> None:
    for file in list(folder.iterdir()):
        file.rename(folder / f"frame_{file.name}")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (foreign_values, r"00010\.png: .*holds 1 but no 255"),
        (wrong_size, r"00010\.png: .*is of size \(5, 6\)"),
        (damaged, r"00010\.png: label image is not readable"),
        (colours, r"00010\.png: .*mode RGB"),
        (gone, "long/1: .*folder of the object's masks does not exist"),
        (other_names, "long/1: .*none of its masks is of a frame"),
    ],
)
def test_bad_masks_fail_their_video_alone(tmp_path: Path, damage: Callable[[Path], None], reason: str) -> None:
    split = open_split(plant_long_rvos(tmp_path), "valid", None)
    video, single = split.videos()
    damage(tmp_path / "valid/Annotations/long/1")
    with pytest.raises(ValueError, match=reason) as caught:
        split.annotations(video)
    assert "video 'long', expression '0'" in str(caught.value)
    assert split.annotations(single)


def test_masks_of_another_size_than_the_frames_are_refused(tmp_path: Path) -> None:
    split = open_split(plant_long_rvos(tmp_path), "valid", None)
    video = split.videos()[0]
    write_frames(video.location, ["00000"], (24, 32))
    with pytest.raises(ValueError, match=r"long/1: video 'long'.*\(12, 16\).*00000\.jpg is \(24, 32\)"):
        split.annotations(video)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"type": "other"}, "type is 'other'"), ({"type": ["static"]}, "type is"), ({"obj_id": ["1"]}, "obj_id is")],
)
def test_a_bad_expression_is_a_defect(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    bad = {"frames": ["00000"], "expressions": {"4": {"exp": "x", "obj_id": "1", "type": "static"} | change}}
    long, single, video = open_split(plant_long_rvos(tmp_path, VALID | {"bad": bad}), "valid", None).videos()
    assert f"meta_expressions.json: video 'bad', expression '4': {reason}" in wrong_expressions(video)
    assert long.defect == single.defect == ""


def test_a_split_without_annotations_has_no_truth(tmp_path: Path) -> None:
    plant_long_rvos(tmp_path, split="test")
    shutil.rmtree(tmp_path / "test/Annotations")
    split = open_split(tmp_path, "test", None)
    video = split.videos()[0]
    assert not split.has_truth and split.annotations(video) == {}
    assert {e.annotations for e in video.expressions} == {None}
    assert video.expressions[2].group == "hybrid"


def test_limit_and_missing_index(tmp_path: Path) -> None:
    plant_long_rvos(tmp_path)
    assert [v.id for v in open_split(tmp_path, "valid", 1).videos()] == ["long"]
    with pytest.raises(ValueError, match=r"train/meta_expressions\.json: the index does not exist"):
        open_split(tmp_path, "train", None)
    (tmp_path / "valid/meta_expressions.json").write_text(json.dumps({"videos": []}))
    with pytest.raises(ValueError, match="no mapping of videos"):
        open_split(tmp_path, "valid", None)
