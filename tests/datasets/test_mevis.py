"""The MeViS reader, on small trees in exactly the published layouts."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.defects import wrong_expressions
from support.project import CONFIG

from stages.core.config.file import Config
from stages.core.config.loading import ConfigError, load_config
from stages.core.media import masks
from stages.core.state.fingerprints import annotations_digest
from stages.datasets import mevis, open_split

SIZE = (4, 5)


def rle(rows: slice = slice(1, 3), size: tuple[int, int] = SIZE) -> dict[str, Any]:
    mask = np.zeros(size, bool)
    mask[rows, 2:4] = True
    encoded = masks.encode(mask)
    return {"size": list(encoded["size"]), "counts": encoded["counts"]}


def entry(frames: list[str], **expressions: Any) -> dict[str, Any]:
    return {"vid_id": 3, "frames": frames, "expressions": {name[1:]: value for name, value in expressions.items()}}


def index() -> dict[str, Any]:
    return {
        "377b1c5f365c": entry(
            ["00000", "00001"],
            _0={"exp": " Two  Lizards\tmoving ", "obj_id": [0, 1], "anno_id": [2, 3]},
            _1={"exp": "the left one", "obj_id": [0], "anno_id": [2]},
            _10={"exp": "the cat", "obj_id": [], "anno_id": []},
            _2={"exp": "the dog"},
        ),
        "aa": entry(["00003"], _0={"exp": "a bird", "obj_id": [0], "anno_id": [7]}),
    }


def mask_dict() -> dict[str, Any]:
    return {"2": [rle(), None], "3": [rle(slice(0, 1)), rle(slice(3, 4))], "7": [rle(size=(8, 9))]}


def plant(root: Path, videos: Any = None, truth: Any = None, *, split: str = "valid_u", inside: bool = False) -> Path:
    place = root / split / "JPEGImages" if inside else root / split
    place.mkdir(parents=True, exist_ok=True)
    (place / "meta_expressions.json").write_text(json.dumps({"videos": index() if videos is None else videos}))
    if truth is not False:
        (place / "mask_dict.json").write_text(json.dumps(mask_dict() if truth is None else truth))
    return root


@pytest.fixture
def config(tmp_path: Path) -> Config:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        f"datasets: {{mevis: {{root: {tmp_path / 'mevis'}, splits: {{valid_u: {{limit: 1}}}}}},"
        f" shapes: {{root: {tmp_path / 'shapes'}}}}}"
    )
    return load_config(CONFIG, overlay)


@pytest.mark.parametrize("inside", [False, True])
def test_reads_both_layouts(tmp_path: Path, inside: bool) -> None:
    split = mevis.open_split(plant(tmp_path, inside=inside), "valid_u", None)
    lizards, bird = split.videos()
    assert split.has_truth and split.name == "valid_u"
    assert (lizards.id, lizards.frames, lizards.cost, lizards.defect) == ("377b1c5f365c", ("00000", "00001"), 2, "")
    assert lizards.location == tmp_path / "valid_u/JPEGImages/377b1c5f365c"
    assert bird.frames == ("00003",)
    assert [(e.id, e.text, e.annotations) for e in lizards.expressions] == [
        ("0", "two lizards moving", ("2", "3")),
        ("1", "the left one", ("2",)),
        ("10", "the cat", ()),  # version 2: an empty anno_id is a no-target expression
        ("2", "the dog", ()),  # and so is an absent one, where there is ground truth
    ]
    assert lizards.expressions[0].raw == " Two  Lizards\tmoving "


def test_the_index_beside_the_images_wins(tmp_path: Path) -> None:
    plant(plant(tmp_path), {"other": entry(["0"], _0={"exp": "x"})}, {}, inside=True)
    assert [v.id for v in mevis.open_split(tmp_path, "valid_u", None).videos()] == ["377b1c5f365c", "aa"]


def test_reads_the_hub_name_of_version_2(tmp_path: Path) -> None:
    plant(tmp_path)
    (tmp_path / "valid_u/meta_expressions.json").rename(tmp_path / "valid_u/meta_expressions_v2.json")
    assert len(mevis.open_split(tmp_path, "valid_u", None).videos()) == 2


def test_annotations_become_core_masks(tmp_path: Path) -> None:
    split = mevis.open_split(plant(tmp_path), "valid_u", None)
    lizards, bird = split.videos()
    found = split.annotations(lizards)
    assert list(found) == ["2", "3"]
    first, second = found["2"]
    assert first == {"size": SIZE, "counts": "92203"} and second is None
    assert masks.decode(first).sum() == 4
    assert list(split.annotations(bird)) == ["7"]
    assert annotations_digest(lizards, found) == annotations_digest(lizards, split.annotations(lizards))


def test_masks_are_read_on_demand_and_once(tmp_path: Path) -> None:
    plant(tmp_path)
    masks_file = tmp_path / "valid_u/mask_dict.json"
    good = masks_file.read_text()
    masks_file.write_text("{broken")
    split = mevis.open_split(tmp_path, "valid_u", None)
    lizards, bird = split.videos()
    with pytest.raises(ValueError, match=r"mask_dict\.json:1:2: broken JSON"):
        split.annotations(lizards)
    masks_file.write_text(good)
    split.annotations(lizards)
    masks_file.unlink()
    assert split.annotations(bird)


def test_without_ground_truth_targets_are_unknown(tmp_path: Path) -> None:
    videos = {"v": entry(["00000"], _0={"exp": "a cat"}, _1={"exp": "a dog", "anno_id": []})}
    split = mevis.open_split(plant(tmp_path, videos, False), "valid_u", None)
    (video,) = split.videos()
    assert not split.has_truth
    assert [e.annotations for e in video.expressions] == [None, None]
    assert split.annotations(video) == {}


def test_lost_masks_are_not_taken_for_an_unlabelled_split(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"meta_expressions\.json: video '377b1c5f365c', expression '0'.*mask_dict"):
        mevis.open_split(plant(tmp_path, truth=False), "valid_u", None)


FINE = {"exp": "a cat", "anno_id": [2]}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"exp": " \t", "anno_id": [2]}, "has no caption"),
        ({"anno_id": [2]}, "has no caption"),
        ({"exp": ["a dog"], "anno_id": [2]}, r"its caption is \['a dog'\]"),
        ({"exp": "???", "anno_id": [2]}, r"has no word \('\?\?\?'\)"),
        ({"exp": "\u200b\ufeff", "anno_id": [2]}, r"has no word \('\\u200b\\ufeff'\)"),
        ({"exp": "\ud800 dog", "anno_id": [2]}, r"'\\ud800 dog' holds half a character"),
        ("the dog", "is a text, 'the dog', where an object belongs"),
        ({"exp": "x", "anno_id": 2}, "anno_id is 2"),
        ({"exp": "x", "anno_id": 0}, "anno_id is 0"),
        ({"exp": "x", "anno_id": False}, "anno_id is False"),
        ({"exp": "x", "anno_id": ""}, "anno_id is ''"),
        ({"exp": "x", "anno_id": 0, "obj_id": [1]}, "anno_id is 0"),
        ({"exp": "x", "anno_id": [True]}, r"anno_id is \[True\]"),
        ({"exp": "x", "obj_id": [1]}, r"has obj_id \[1\] but no anno_id"),
        ({"exp": "x", "obj_id": 0, "anno_id": []}, "has obj_id 0 but no anno_id"),
        ({"exp": "x", "obj_id": "0"}, "has obj_id '0' but no anno_id"),
    ],
)
def test_a_bad_expression_is_its_own_defect_and_the_rest_is_sound(tmp_path: Path, bad: Any, reason: str) -> None:
    videos = {"bad": entry(["00000", "00001"], _0=bad, _1=FINE), **index()}
    split = mevis.open_split(plant(tmp_path, videos), "valid_u", None)
    video, *others = split.videos()
    assert [e.id for e in video.expressions] == ["0", "1"] and video.expressions[1].annotations == ("2",)
    assert re.search(rf"meta_expressions\.json: video 'bad', expression '0': {reason}", wrong_expressions(video))
    assert list(split.left_out) == [video.expressions[0].defect]
    assert not any(wrong_expressions(other) for other in others)
    captioned = isinstance(bad, dict) and bad.get("exp") == "x"
    assert video.expressions[0].has_word == captioned  # it is asked, though what it should be is not known
    assert (video.expressions[0].annotations is None) == (captioned or bad == "the dog")


def test_nothing_is_referred_to_by_an_empty_list_alone(tmp_path: Path) -> None:
    said = {"_0": {"exp": "x", "anno_id": [], "obj_id": []}, "_1": {"exp": "x"}, "_2": {"exp": "x", "anno_id": [0]}}
    split = mevis.open_split(plant(tmp_path, {"v": entry(["00000"], **said)}), "valid_u", None)
    assert [e.annotations for e in split.videos()[0].expressions] == [(), (), ("0",)]
    bare = plant(tmp_path / "bare", {"v": entry(["00000"], _0={"exp": "x", "anno_id": 0})}, False)
    with pytest.raises(ValueError, match="refers to annotations, but there is no"):
        mevis.open_split(bare, "valid_u", None)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry(["00000", "00000"], _1=FINE), "frames 00000 are listed more than once"),
        (entry(["00005", "00001"], _1=FINE), "frame 00001 is out of order"),
        (entry([], _1=FINE), "lists no frames"),
        ({"frames": ["00000"]}, "needs a list 'frames' and a mapping 'expressions'"),
        ([], "needs a list 'frames' and a mapping 'expressions'"),
        ({"frames": ["00000"], "expressions": ["a dog"]}, "its expressions are a list"),
        ({"frames": ["00000"], "expressions": "a dog"}, "its expressions are a text"),
        (entry(["../0"], _0=FINE), "frame name '../0'"),
        (entry([None], _0=FINE), "frame None is not a name"),  # type: ignore[list-item]
    ],
)
def test_a_bad_video_is_a_defect_and_the_rest_is_sound(tmp_path: Path, bad: Any, reason: str) -> None:
    split = mevis.open_split(plant(tmp_path, {"bad": bad, **index()}), "valid_u", None)
    video, *others = split.videos()
    assert reason in video.defect and "meta_expressions.json: video 'bad'" in video.defect
    assert [other.defect for other in others] == ["", ""]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"2": [rle()]}, "annotation 2 .*expression '0'.*holds 1 masks for 2 frames"),
        ({"2": None}, "annotation 2 .*is missing"),
        ({"3": [rle(), rle(size=(6, 6))]}, r"annotation 3 .*mask 1: is of size \(6, 6\), others .* are \(4, 5\)"),
        ({"3": [None, rle(size=(6, 6))]}, r"annotation 3 .*size \(6, 6\)"),
        ({"3": [rle(), {"size": [4, 5]}]}, "annotation 3 .*mask 1: is not"),
        ({"3": [rle(), {"size": [4, -5], "counts": "0"}]}, "mask 1: needs two positive integers"),
        ({"3": [rle(), {"size": [4, 5], "counts": [19]}]}, "mask 1: its runs hold 19 pixels instead of 20"),
        ({"3": [rle(), {"size": [4, 5], "counts": [21, -1]}]}, "mask 1: its list of runs holds something else"),
        ({"3": [rle(), {"size": [4, 5], "counts": 20}]}, "mask 1: needs two positive integers"),
    ],
)
def test_bad_masks_fail_their_video_alone(tmp_path: Path, change: Any, reason: str) -> None:
    split = mevis.open_split(plant(tmp_path, truth=mask_dict() | change), "valid_u", None)
    lizards, bird = split.videos()
    with pytest.raises(ValueError, match=reason) as caught:
        split.annotations(lizards)
    assert "mask_dict.json" in str(caught.value) and "'377b1c5f365c'" in str(caught.value)
    assert split.annotations(bird)


@pytest.mark.parametrize(
    ("videos", "reason"),
    [
        ({"../up": entry(["0"], _0=FINE)}, "video id '../up'"),
        ({"/abs": entry(["0"], _0=FINE)}, "video id '/abs'"),
        ({}, "lists no video"),
        ([], "no mapping of videos"),
    ],
)
def test_an_unsafe_or_foreign_index_is_refused(tmp_path: Path, videos: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        mevis.open_split(plant(tmp_path, videos), "valid_u", None)
    assert "meta_expressions.json" in str(caught.value)


@pytest.mark.parametrize("name", ["../0", "a/b"])
def test_an_expression_whose_id_is_no_path_is_left_out_alone(tmp_path: Path, name: str) -> None:
    videos = {"v": {"frames": ["00000"], "expressions": {name: FINE, "1": FINE}}}
    split = mevis.open_split(plant(tmp_path, videos), "valid_u", None)
    assert [e.id for e in split.videos()[0].expressions] == ["1"] and not split.videos()[0].defect
    (message,) = split.left_out
    assert f"meta_expressions.json: video 'v': expression id '{name}'" in message


def test_a_video_whose_name_is_no_path_is_left_out_alone(tmp_path: Path) -> None:
    split = mevis.open_split(plant(tmp_path, {"../up": entry(["0"], _0=FINE), **index()}), "valid_u", None)
    assert [video.id for video in split.videos()] == list(index())
    assert "video id '../up' cannot be used as a path" in split.left_out[0]


def test_broken_json_names_its_line(tmp_path: Path) -> None:
    plant(tmp_path)
    (tmp_path / "valid_u/meta_expressions.json").write_text('{"videos":\n {,}}')
    with pytest.raises(ValueError, match=r"meta_expressions\.json:2:3: broken JSON"):
        mevis.open_split(tmp_path, "valid_u", None)


def test_open_split_applies_the_limit_and_warns_of_counts(
    tmp_path: Path, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    plant(tmp_path / "mevis")
    with caplog.at_level(logging.WARNING):
        assert [v.id for v in open_split(config, "mevis", "valid_u").videos()] == ["377b1c5f365c"]
    assert "2 videos with 5 expressions" in caplog.text and "50 videos with 793 expressions" in caplog.text


@pytest.mark.parametrize(
    ("dataset", "split", "reason"),
    [
        ("mevis", "valid_u", "set datasets.mevis.root"),
        ("shapes", "train", "run `python -m stages.make_shapes"),
    ],
)
def test_a_missing_root_names_the_mend(config: Config, dataset: str, split: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        open_split(config, dataset, split)


def test_a_missing_split_or_index_names_the_place(tmp_path: Path, config: Config) -> None:
    plant(tmp_path / "mevis", split="train")
    with pytest.raises(ValueError, match=r"mevis/valid_u does not exist; the root holds train"):
        open_split(config, "mevis", "valid_u")
    (tmp_path / "mevis/valid_u").mkdir()
    with pytest.raises(ValueError, match=r"valid_u/meta_expressions\.json: does not exist"):
        open_split(config, "mevis", "valid_u")
    with pytest.raises(ConfigError, match="did you mean 'valid_u'"):
        open_split(config, "mevis", "valid_y")
