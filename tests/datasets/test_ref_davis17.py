"""The Ref-DAVIS17 reader and its converter, on small trees in exactly the published layout."""

import json
import re
from pathlib import Path

import pytest
from support.project import CONFIG
from support.trees_davis import ANNOTATORS, LEFT, LINES, LOW, MIDDLE, RIGHT, ROWS, TRAIN_LINES, plant_davis, plant_text
from support.trees_pngs import labels, write_labels

from stages.core.media import masks
from stages.core.state.fingerprints import annotations_digest
from stages.datasets.ref_davis17 import open_split
from stages.tools.convert_davis import main, run


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("davis", ["DAVIS", "."])
def test_reads_the_raw_files(tmp_path: Path, davis: str, caplog: pytest.LogCaptureFixture) -> None:
    split = open_split(plant_davis(tmp_path, davis), "val", None)
    dogs, car = split.videos()
    assert (split.name, split.protocol, split.has_truth) == ("val", "davis17", True)
    assert (dogs.id, dogs.frames, dogs.defect) == ("dogs-scale", ("00000", "00001", "00002"), "")
    assert dogs.location == tmp_path / davis / "JPEGImages/480p/dogs-scale"
    assert (car.id, car.defect) == ("classic-car", "")
    assert "2 videos with 12 expressions; published: 30 videos with 244 expressions" in caplog.text


def test_expression_4k_plus_a_is_of_object_k_and_annotator_a(tmp_path: Path) -> None:
    dogs, car = open_split(plant_davis(tmp_path), "val", None).videos()
    assert [(e.id, e.annotations, e.group, e.text) for e in dogs.expressions] == [
        ("0", ("1",), "0", "a man"),
        ("1", ("1",), "1", "a man"),
        ("2", ("1",), "2", "a man"),
        ("3", ("1",), "3", "a man"),
        ("4", ("2",), "0", "a dog"),
        ("5", ("2",), "1", 'a "big" dog'),
        ("6", ("2",), "2", "a dog"),
        ("7", ("2",), "3", "a dog"),
    ]
    assert [e.text for e in car.expressions] == ["a car", "a car", "a café car", "a car"]
    assert car.expressions[0].raw == "A car  "


def test_misspelt_names_are_mended(tmp_path: Path) -> None:
    (bike,) = open_split(plant_davis(tmp_path), "train", None).videos()
    assert (bike.id, bike.defect, bike.frames) == ("motorbike", "", ("00000",))
    assert [e.text for e in bike.expressions] == [f"a bike {i}" for i in range(4)]


def test_masks_and_void(tmp_path: Path) -> None:
    split = open_split(plant_davis(tmp_path), "val", None)
    dogs, car = split.videos()
    found = split.annotations(dogs)
    man, dog = masks.encode(labels((1, ROWS, LEFT))), masks.encode(labels((1, ROWS, RIGHT)))
    assert list(found) == ["1", "2", "3"]  # object 3 has no sentence, but the unsupervised protocol counts it
    assert found["1"] == [man, man, None] and found["2"] == [dog, None, None]
    assert split.void(dogs) == [None, masks.encode(labels((1, LOW, MIDDLE))), None]
    assert split.void(car) == [None, None]
    assert annotations_digest(dogs, found) == annotations_digest(dogs, split.annotations(dogs))


def test_valid_is_val(tmp_path: Path) -> None:
    plant_davis(tmp_path)
    assert open_split(tmp_path, "valid", 1).videos() == open_split(tmp_path, "val", 1).videos()
    with pytest.raises(ValueError, match="has the splits train and val, not 'test'"):
        open_split(tmp_path, "test", None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("dogs-scale 2", r'annot1\.txt:4: video \'dogs-scale\': is not of the form: video obj_id "text"'),
        ('dogs-scale 2 ""', r"annot1\.txt:4: .*is not of the form"),
        ('dogs-scale two "x"', r"annot1\.txt:4: .*is not of the form"),
        ('dog-scale 1 "x"', r"annot1\.txt:4: .*describes object 1 again"),
        ('dogs-scale 3 "x"', r"annot1_full_video\.txt: .*no sentence for objects \[3\]"),
        ('dogs-scale 5 "x"', r"describes objects \[1, 2, 5\], not 1 … n"),
        ('dogs-scale 0 "x"', r"describes objects \[0, 1, 2\], not 1 … n"),
    ],
)
def test_a_bad_line_is_a_defect_of_its_video(tmp_path: Path, line: str, reason: str) -> None:
    plant_davis(tmp_path)
    plant_text(tmp_path, "annot1", ['classic-car 1 "a"', 'dogs-scale 2 "b"', 'dogs-scale 1 "c"', line])
    dogs, car = open_split(tmp_path, "val", None).videos()
    assert car.defect == ""
    assert re.search(reason, dogs.defect), dogs.defect


def test_what_the_texts_or_frames_lack_is_a_defect(tmp_path: Path) -> None:
    plant_davis(tmp_path)
    for name in ANNOTATORS:
        plant_text(tmp_path, name, [line for line in LINES[name] if "car" in line])
    (tmp_path / "DAVIS/JPEGImages/480p/classic-car").rename(tmp_path / "elsewhere")
    dogs, car = open_split(tmp_path, "val", None).videos()
    assert "video 'dogs-scale': describes objects [], not 1 … n" in dogs.defect
    assert "480p/classic-car: video 'classic-car': no frame (.jpg) is there" in car.defect


def test_utf8_is_not_read_as_latin1(tmp_path: Path) -> None:
    plant_davis(tmp_path)
    (tmp_path / "davis_text_annotations/Davis17_annot1.txt").write_bytes('dogs-scale 1 "café"'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"Davis17_annot1\.txt: not UTF-8 \(byte 17\)"):
        open_split(tmp_path, "val", None)


@pytest.mark.parametrize(
    "gone",
    ["DAVIS/ImageSets/2017/val.txt", "DAVIS/Annotations_unsupervised", "davis_text_annotations/Davis17_annot2.txt"],
)
def test_what_is_missing_is_named(tmp_path: Path, gone: str) -> None:
    plant_davis(tmp_path)
    (tmp_path / gone).rename(tmp_path / "gone")
    with pytest.raises(ValueError, match=f"{gone}.*does not exist; put"):
        open_split(tmp_path, "val", None)


@pytest.mark.parametrize("name", ["../up", "/abs", "a/b", ".hidden"])
def test_lists_that_leave_the_root_are_refused(tmp_path: Path, name: str) -> None:
    plant_davis(tmp_path)
    (tmp_path / "DAVIS/ImageSets/2017/val.txt").write_text(name)
    with pytest.raises(ValueError, match=r"val\.txt: video id"):
        open_split(tmp_path, "val", None)


def test_bad_label_images_fail_their_video_alone(tmp_path: Path) -> None:
    split = open_split(plant_davis(tmp_path), "val", None)
    dogs, car = split.videos()
    (tmp_path / "DAVIS/Annotations_unsupervised/480p/dogs-scale/00002.png").unlink()
    for ask in (split.annotations, split.void):
        with pytest.raises(ValueError, match=r"video 'dogs-scale': .*00002\.png: the label image does not exist"):
            ask(dogs)
    assert split.annotations(car)


def test_the_conversion_links_and_reads_the_same(tmp_path: Path) -> None:
    raw, target = plant_davis(tmp_path / "raw"), tmp_path / "deep" / "converted"
    (raw / "DAVIS/davis_semantics.json").write_text(json.dumps({"dogs-scale": {"1": "person", "2": "dog"}}))
    before = listing(raw)
    run(raw, target)
    assert listing(raw) == before  # nothing moved
    link = target / "valid/JPEGImages/dogs-scale"
    assert link.is_symlink() and link.resolve() == (raw / "DAVIS/JPEGImages/480p/dogs-scale").resolve()
    meta = json.loads((target / "valid/meta.json").read_text())["videos"]
    assert meta["dogs-scale"] == {"objects": {"1": {"category": "person"}, "2": {"category": "dog"}}}
    for name in ("train", "val"):
        ours, theirs = open_split(raw, name, None), open_split(target, name, None)
        for a, b in zip(ours.videos(), theirs.videos(), strict=True):
            assert (a.id, a.frames, a.expressions, a.defect) == (b.id, b.frames, b.expressions, b.defect)
            assert ours.annotations(a) == theirs.annotations(b) and ours.void(a) == theirs.void(b)


def test_the_conversion_is_that_of_the_field(tmp_path: Path) -> None:
    run(plant_davis(tmp_path / "raw"), tmp_path / "new")
    index = json.loads((tmp_path / "new/meta_expressions/valid/meta_expressions.json").read_text())["videos"]
    assert index["classic-car"]["frames"] == ["00000", "00001"]
    assert index["dogs-scale"]["expressions"]["5"] == {"exp": 'a "big" dog', "obj_id": "2"}
    assert not (tmp_path / "new/valid/meta.json").exists()  # no semantics, no categories
    assert listing(tmp_path / "new/train/Annotations") == ["motorbike"]


@pytest.mark.parametrize(("obj_id", "name"), [("1", "4"), ("2", "3"), ("1", "a")])
def test_a_conversion_of_other_ids_is_a_defect(tmp_path: Path, obj_id: str, name: str) -> None:
    run(plant_davis(tmp_path / "raw"), tmp_path / "new")
    path = tmp_path / "new/meta_expressions/valid/meta_expressions.json"
    index = json.loads(path.read_text())
    index["videos"]["classic-car"]["expressions"][name] = {"exp": "x", "obj_id": obj_id}
    path.write_text(json.dumps(index))
    dogs, car = open_split(tmp_path / "new", "val", None).videos()
    assert dogs.defect == "" and f"video 'classic-car', expression '{name}'" in car.defect


def test_a_conversion_that_lost_an_expression_is_a_defect(tmp_path: Path) -> None:
    run(plant_davis(tmp_path / "raw"), tmp_path / "new")
    path = tmp_path / "new/meta_expressions/valid/meta_expressions.json"
    index = json.loads(path.read_text())
    del index["videos"]["dogs-scale"]["expressions"]["7"]
    index["videos"]["classic-car"]["expressions"] = {}
    path.write_text(json.dumps(index))
    dogs, car = open_split(tmp_path / "new", "val", None).videos()
    assert "video 'dogs-scale': lacks expressions 7;" in dogs.defect
    assert "video 'classic-car': lacks expressions 0, 1, 2, 3;" in car.defect


def test_a_defect_or_an_existing_target_stops_the_conversion(tmp_path: Path) -> None:
    raw, target = plant_davis(tmp_path / "raw"), tmp_path / "new"
    plant_text(raw, "annot2", [*LINES["annot2"][1:], TRAIN_LINES[2]])
    with pytest.raises(ValueError, match=r"annot2\.txt: video 'classic-car': has no sentence"):
        run(raw, target)
    assert not target.exists()
    target.mkdir()
    with pytest.raises(ValueError, match="exists already"):
        run(raw, target)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = plant_davis(tmp_path / "raw")
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"datasets: {{ref_davis17: {{root: {raw}}}}}")
    config = ["--config", str(CONFIG), "--config", str(overlay)]
    assert main([*config, "--target", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new/valid/Annotations/classic-car/00001.png").is_file()
    assert main([*config, "--target", str(tmp_path / "new")]) == 2
    assert main([*config, "--dataset", "mevis", "--target", str(tmp_path / "other")]) == 2
    assert "format is 'mevis'; only davis17 is converted" in capsys.readouterr().err


def test_a_map_of_another_size_is_refused(tmp_path: Path) -> None:
    split = open_split(plant_davis(tmp_path), "val", None)
    write_labels(tmp_path / "DAVIS/Annotations_unsupervised/480p/classic-car/00001.png", labels(size=(6, 6)))
    with pytest.raises(ValueError, match=r"classic-car.*00001\.png: is of size \(6, 6\)"):
        split.annotations(split.videos()[1])
