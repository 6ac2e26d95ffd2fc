"""check_dataset: what it counts, what it lists, how it exits."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from support.project import CONFIG
from support.tiny_mevis import SIZE, write_tree
from support.trees_sentences import A2D_FRAMES, write_a2d, write_jhmdb
from support.trees_ytvos import plant_train
from support.video_files import make_video

from stages.core.media.masks import encode
from stages.tools.check_dataset import main


class Checker:
    """Runs the command on a data set of a config of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def run(self, *flags: str, format: str, name: str = "mine", splits: tuple[str, ...] = ("test",)) -> int:
        entry = {
            "format": format,
            "root": str(self.folder),
            "generate": False,
            "models": "micro",
            "selector": {"weights": "x.safetensors", "train": None, "validate_on": None},
            "splits": {split: {"role": "evaluate", "limit": None} for split in splits},
            "settings": {},
        }
        overlay = self.folder.parent / "overlay.yaml"
        overlay.write_text(yaml.safe_dump({"datasets": {name: entry}}, sort_keys=False))
        return main(["--config", str(CONFIG), "--config", str(overlay), "--dataset", name, *flags])

    def json(self, *flags: str, **options: Any) -> tuple[int, list[dict[str, Any]]]:
        status = self.run("--json", *flags, **options)
        return status, json.loads(self.capsys.readouterr().out)


@pytest.fixture
def checker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Checker:
    return Checker(tmp_path / "data", capsys)


MEVIS = ("train", "valid_u", "valid")


def test_a_sound_set_is_counted(checker: Checker) -> None:
    write_tree(checker.folder)
    status, found = checker.json(format="mevis", splits=MEVIS)
    assert status == 0 and [outcome["split"] for outcome in found] == list(MEVIS)
    train, valid_u, valid = (outcome["counts"] for outcome in found)
    # two squares in each video, four expressions, one of them without target; the red square never leaves
    assert (train["videos"], train["expressions"], train["no_target"], train["annotations"]) == (2, 8, 2, 4)
    assert train["frames"] == train["scored"] == 4 + 5 and valid_u["frames"] == 4 + 5 + 6
    assert 0 < train["masks"] < 2 * train["frames"]
    assert (valid["expressions"], valid["no_target"], valid["annotations"], valid["masks"]) == (4, 0, 0, 0)
    assert not any(outcome["findings"] or outcome["published"] for outcome in found)


def test_published_counts_are_a_warning(checker: Checker, caplog: pytest.LogCaptureFixture) -> None:
    write_tree(checker.folder)
    arguments: dict[str, Any] = {"format": "mevis", "name": "mevis", "splits": ("valid_u",)}
    status, (outcome,) = checker.json("--split", "valid_u", **arguments)
    assert status == 0 and (outcome["errors"], outcome["warnings"]) == (0, 1)
    assert outcome["published"] == [{"videos": 50, "expressions": 793}, {"videos": 50, "expressions": 907}]
    assert "3 videos with 12 expressions; published: 50 videos" in outcome["findings"][0]["message"]
    assert not caplog.records  # it is in the list, and not on the log too
    logging.getLogger("stages.datasets").warning("heard again")
    assert caplog.records
    assert checker.run("--split", "valid_u", "--strict", **arguments) == 1
    table = checker.capsys.readouterr().out
    assert "mevis/valid_u (format mevis)" in table and "0 errors, 1 warning\n" in table
    assert [line.split() for line in table.splitlines() if line.startswith("  expressions")] == [
        ["expressions", "12", "793", "or", "907"]
    ]


def edit(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_every_defect_is_listed_with_file_and_video(checker: Checker) -> None:
    write_tree(checker.folder, valid_u=6)
    folder = checker.folder / "valid_u"

    def damage_masks(masks: dict[str, Any]) -> None:
        keys = iter(masks)
        per_video = [(next(keys), next(keys)) for _ in range(6)]
        cut = masks[per_video[1][0]][0]
        cut["counts"] = cut["counts"][:-1]
        masks[per_video[2][1]].append(None)
        del masks[per_video[3][0]]

    edit(folder / "mask_dict.json", damage_masks)
    edit(folder / "meta_expressions.json", lambda d: d["videos"]["video0"]["expressions"]["1"].update(exp=" "))
    (folder / "JPEGImages/video4/00045.jpg").unlink()
    Image.new("RGB", (10, 9)).save(folder / "JPEGImages/video5/00050.jpg")
    status, (outcome,) = checker.json("--split", "valid_u", format="mevis", splits=MEVIS)
    assert status == 1 and outcome["counts"]["videos"] == 6
    found = {finding["video"]: finding["message"] for finding in outcome["findings"]}
    assert len(found) == len(outcome["findings"]) == outcome["errors"] == 6
    for video, (file, reason) in {
        "video0": ("meta_expressions.json", "expression '1': has no caption"),
        "video1": ("mask_dict.json", "expression '0'), mask 0: RLE"),
        "video2": ("mask_dict.json", "holds 7 masks for 6 frames"),
        "video3": ("mask_dict.json", "is missing"),
        "video4": ("JPEGImages/video4/00045", "frame is missing"),
        "video5": ("00050.jpg", "(9, 10)"),
    }.items():
        assert file in found[video] and reason in found[video] and str(checker.folder) in found[video]


def test_a_split_that_cannot_be_opened_is_an_error_and_the_others_go_on(checker: Checker) -> None:
    write_tree(checker.folder)
    (checker.folder / "train/meta_expressions.json").write_text("{")
    status, (train, valid_u, _) = checker.json(format="mevis", splits=MEVIS)
    assert status == 1 and train["counts"]["videos"] == 0 and valid_u["errors"] == 0
    assert "train/meta_expressions.json:1:2: broken JSON" in train["findings"][0]["message"]


def test_a_split_without_videos_is_an_error(checker: Checker) -> None:
    write_tree(checker.folder)
    (checker.folder / "valid/meta_expressions.json").write_text('{"videos": {}}')
    status, (valid,) = checker.json("--split", "valid", format="mevis", splits=MEVIS)
    assert status == 1 and "meta_expressions.json: 'videos' lists no video" in valid["findings"][0]["message"]


def test_pixels_are_read_on_request(checker: Checker) -> None:
    write_tree(checker.folder)
    frame = checker.folder / "valid/JPEGImages/video0/00005.jpg"
    frame.write_bytes(frame.read_bytes()[:-200])
    arguments: dict[str, Any] = {"format": "mevis", "splits": MEVIS}
    assert checker.json(**arguments)[0] == 0
    status, (*_, valid) = checker.json("--decode", **arguments)
    assert status == 1 and "00005.jpg: frame is not readable" in valid["findings"][0]["message"]
    Image.new("RGB", (SIZE[1], SIZE[0] + 1)).save(frame)
    assert "00005.jpg: is of size (49, 64)" in checker.json("--decode", **arguments)[1][2]["findings"][0]["message"]
    assert checker.json("--decode", "--split", "train", **arguments)[0] == 0


def test_a2d_is_counted(checker: Checker) -> None:
    write_a2d(checker.folder)
    status, (outcome,) = checker.json("--decode", format="a2d")
    assert status == 0 and outcome["counts"] == {
        "videos": 2,
        "expressions": 3,
        "no_target": 0,
        "frames": 2 * A2D_FRAMES,
        "annotations": 3,
        "masks": 4,  # samples: "man in red" is seen in two frames
        "scored": 3,
    }
    texts = [finding["message"] for finding in outcome["findings"]]
    assert len(texts) == 3 and all("published" in text or "mute4" in text for text in texts)
    (checker.folder / "Release/clips320H/-cat1.mp4").write_bytes(b"")
    status, (outcome,) = checker.json(format="a2d")
    assert status == 1 and "-cat1.mp4: the file is empty" in outcome["findings"][-1]["message"]


def test_masks_of_another_size_than_the_clip_are_listed(checker: Checker) -> None:
    write_a2d(checker.folder)
    make_video(checker.folder / "Release/clips320H/-cat1.mp4", A2D_FRAMES, (32, 48))
    status, (outcome,) = checker.json(format="a2d")
    (error,) = [finding for finding in outcome["findings"] if finding["level"] == "error"]
    assert status == 1 and error["video"] == "-cat1" and "annotation 1 is of size (48, 64)" in error["message"]


def test_jhmdb_is_counted(checker: Checker) -> None:
    write_jhmdb(checker.folder)
    status, (outcome,) = checker.json("--decode", format="jhmdb")
    counts = outcome["counts"]
    assert status == 0 and (counts["frames"], counts["masks"], counts["scored"]) == (16, 12, 7)
    (checker.folder / "puppet_mask/golf/Alone_golf_u_cm/puppet_mask.mat").unlink()
    status, (outcome,) = checker.json(format="jhmdb")
    errors = [finding for finding in outcome["findings"] if finding["level"] == "error"]
    assert status == 1 and len(errors) == 1  # masks and scored frames miss the same file


def test_a_folder_of_videos(checker: Checker) -> None:
    checker.folder.mkdir()
    make_video(checker.folder / "a.mp4", 7)
    make_video(checker.folder / "extra.mp4", 3)
    (checker.folder / "expressions.json").write_text(json.dumps({"a": ["x"], "b": ["y"]}))
    status, (outcome,) = checker.json(format="folder")
    assert status == 1 and outcome["counts"]["frames"] == 7 and outcome["counts"]["videos"] == 2
    assert [(f["level"], f["video"]) for f in outcome["findings"]] == [("warning", ""), ("error", "b")]
    assert "extra.mp4" in outcome["findings"][0]["message"]


def test_a_wrong_name_exits_with_2(checker: Checker) -> None:
    write_tree(checker.folder)
    assert checker.run("--split", "valid_v", format="mevis", splits=MEVIS) == 2
    assert "did you mean 'valid_u'" in checker.capsys.readouterr().err
    assert main(["--config", str(CONFIG), "--dataset", "meviss"]) == 2


def test_a_union_of_broken_masks_never_reaches_the_library(checker: Checker) -> None:
    """pycocotools fills what short counts leave open from memory that was never set."""
    write_tree(checker.folder)
    wide = encode(np.ones(SIZE))
    edit(checker.folder / "train/mask_dict.json", lambda d: d["5000"].__setitem__(0, {**wide, "counts": "0"}))
    status, (train, *_) = checker.json(format="mevis", splits=MEVIS)
    assert status == 1 and "its runs hold 0 pixels instead of 3072" in train["findings"][0]["message"]


def test_defects_of_a_kind_are_one_line(checker: Checker) -> None:
    write_tree(checker.folder, valid_u=5)
    for video in range(4):
        next((checker.folder / f"valid_u/JPEGImages/video{video}").iterdir()).unlink()
    frame = sorted((checker.folder / "valid_u/JPEGImages/video4").iterdir())[0]
    frame.write_bytes(b"")
    arguments: dict[str, Any] = {"format": "mevis", "splits": ("valid_u",)}
    assert checker.run(**arguments) == 1
    table = checker.capsys.readouterr().out
    errors = [line for line in table.splitlines() if line.startswith("  error: ")]
    assert len(errors) == 2 and "frame is missing" in errors[0] and errors[0].endswith("[and 3 more of this kind]")
    assert f"{frame}: frame is not readable (the file is empty)" in errors[1]
    assert "5 errors, 0 warnings" in table and "--json lists each of them" in table
    _, (outcome,) = checker.json(**arguments)
    assert len(outcome["findings"]) == 5


def test_a_link_to_nothing_and_an_empty_label_image_are_named(checker: Checker) -> None:
    plant_train(checker.folder)
    label = sorted((checker.folder / "train/Annotations").rglob("*.png"))[0]
    label.write_bytes(b"")
    _, (outcome,) = checker.json(format="ytvos", splits=("train",))
    assert f"{label}: label image is not readable (the file is empty); restore it" in outcome["findings"][-1]["message"]
    label.unlink()
    label.symlink_to(checker.folder / "gone.png")
    _, (outcome,) = checker.json(format="ytvos", splits=("train",))
    assert f"{label}: a link to {checker.folder / 'gone.png'}, which is not there" in outcome["findings"][-1]["message"]
