"""Statements of a MeViS index: checked as expressions are, and seen by nothing that asks, answers or scores."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.tiny_mevis import write_tree
from support.trees_ytvos import plant_train

from stages.core.records import Expression, Video
from stages.core.state.fingerprints import annotations_digest, expressions_digest, statements_digest
from stages.datasets import mevis, ref_youtube_vos
from stages.datasets.check import check_split
from stages.datasets.mevis import MevisSplit

TWO = {"s0": {"exp": " The  RED ones", "anno_id": [], "kind": "appearance"}, "s1": {"exp": "a square"}}


def state(root: Path, statements: Any, split: str = "train") -> None:
    """Gives the first video of a split statements."""
    path = root / split / "meta_expressions.json"
    document = json.loads(path.read_text())
    document["videos"]["video0"]["statements"] = statements
    path.write_text(json.dumps(document))


def opened(root: Path, split: str = "train") -> MevisSplit:
    return mevis.open_split(root, split, None, published=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tree(tmp_path)
    return tmp_path


def key_of(root: Path) -> str:
    """An annotation of the first video."""
    (first, *_) = opened(root).videos()[0].expressions[0].annotations or ()
    return first


def test_they_are_read_beside_the_expressions(root: Path) -> None:
    plain = opened(root).videos()
    key = key_of(root)
    state(root, TWO | {"s2": {"exp": "the square", "anno_id": [int(key)]}})
    split = opened(root)
    video, other = split.videos()
    assert video.statements == (
        Expression("s0", "the red ones", (), " The  RED ones", "appearance"),
        Expression("s1", "a square", (), "a square"),
        Expression("s2", "the square", (key,), "the square"),
    )
    assert video.sentences == video.expressions + video.statements
    assert (replace(video, statements=()), other) == tuple(plain) and not split.left_out


def test_nothing_else_sees_them(root: Path) -> None:
    before = opened(root)
    (plain, _), report = before.videos(), check_split(lambda: opened(root))
    masks = before.annotations(plain)
    state(root, TWO)
    split = opened(root)
    video = split.videos()[0]
    assert check_split(lambda: split) == report and not report.findings
    assert expressions_digest(video) == expressions_digest(plain)
    assert annotations_digest(video, split.annotations(video)) == annotations_digest(plain, masks)
    assert video.cost == plain.cost and statements_digest(video) != statements_digest(plain)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"exp": " "}, "has no caption"),
        ({"exp": "?!"}, "has no word"),
        ("the dog", "is a text, 'the dog', where an object belongs"),
        ({"exp": "x", "anno_id": 3}, "anno_id is 3; it must be a list of annotation ids$"),
        ({"exp": "x", "obj_id": [1]}, r"has obj_id \[1\] but no anno_id"),
        ({"exp": "x", "anno_id": [77]}, "refers to 77, to which no expression of the video refers"),
    ],
)
def test_a_bad_one_is_left_out_alone(root: Path, bad: Any, reason: str) -> None:
    state(root, {"bad": bad, **TWO})
    split = opened(root)
    video, _ = split.videos()
    assert [s.id for s in video.statements] == ["s0", "s1"] and not video.defect
    (message,) = split.left_out
    assert re.search(rf"meta_expressions\.json: video 'video0', statement 'bad': {reason}", message)
    assert [finding.message for finding in check_split(lambda: split).findings] == [message]


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ({"0": {"exp": "x"}}, "statement '0': an expression of the video has the same id"),
        ({"a/b": {"exp": "x"}}, "statement id 'a/b' holds a '/'"),
        ({"..": {"exp": "x"}}, "statement id '..' cannot be used as a path"),
        ([{"exp": "x"}], "its statements are not a mapping"),
        ("x", "its statements are not a mapping"),
    ],
)
def test_bad_names_and_forms_leave_the_video_as_it_is(root: Path, statements: Any, reason: str) -> None:
    state(root, statements)
    split = opened(root)
    video, _ = split.videos()
    assert video.statements == () and len(video.expressions) == 4 and not video.defect
    (message,) = split.left_out
    assert reason in message and "video 'video0'" in message


@pytest.mark.parametrize("nothing", [None, {}])
def test_none_at_all_is_sound(root: Path, nothing: Any) -> None:
    state(root, nothing)
    assert opened(root).videos()[0].statements == () and not opened(root).left_out


def test_without_ground_truth_they_say_nothing(root: Path) -> None:
    state(root, {"s0": {"exp": "the squares"}}, "valid")
    split = opened(root, "valid")
    assert split.videos()[0].statements == ()
    assert "what it refers to is not known" in split.left_out[0]


def test_other_formats_have_none(tmp_path: Path) -> None:
    plant_train(tmp_path)
    path = tmp_path / "meta_expressions/train/meta_expressions.json"
    document = json.loads(path.read_text())
    document["videos"]["single"]["statements"] = {"s0": {"exp": "a bird", "obj_id": "1"}}
    path.write_text(json.dumps(document))
    assert all(video.statements == () for video in ref_youtube_vos.open_split(tmp_path, "train", None).videos())


def test_ids_are_unique_among_all_sentences() -> None:
    one = Expression("0", "a", (), "a")
    with pytest.raises(ValueError, match="video 'v': expression ids repeat"):
        Video("v", ("0",), Path("v"), (one,), 1, statements=(one,))
