"""Statements of the embedded data set: clear, of exactly their objects, balanced, and apart from the sentences."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.shapes_reader import read

from stages.core.digests import digest
from stages.datasets.mevis import open_split
from stages.worlds.shapes.grammar import Sentence
from stages.worlds.shapes.meaning import Judge, kind_of, needs_motion
from stages.worlds.shapes.scene import Scene
from stages.worlds.shapes.statements import FORMS, STATEMENTS, sample_statements
from stages.worlds.shapes.write import (
    VERSION,
    Parameters,
    make_data_set,
    make_scene,
    make_statements,
    write_split,
)

Made = tuple[Scene, list[Sentence], list[Sentence]]


@cache
def videos() -> list[Made]:
    """Scenes with their sentences and statements."""
    made = []
    for i in range(24):
        scene, sentences = make_scene(5, f"train_{i}")
        made.append((scene, sentences, make_statements(5, f"train_{i}", scene, sentences)))
    return made


def form_of(statement: Sentence) -> str:
    (part,) = statement.parts
    return "looks" if part.clause is None else "both" if part.looks.n_words else "clause"


def test_every_video_has_its_number_and_every_form() -> None:
    for _, _, statements in videos():
        assert len(statements) == STATEMENTS == 48
        assert len({s.text for s in statements}) == STATEMENTS
        assert {form_of(s) for s in statements} == set(FORMS)
        assert all(s.parts[0].looks.n_words <= 1 for s in statements), "one aspect of looks"


def test_every_statement_read_again_means_exactly_its_objects() -> None:
    """By its text alone, in singular or plural, and never what is unclear."""
    for scene, sentences, statements in videos():
        judge = Judge(scene)
        labelled = {i for sentence in sentences for i in sentence.referred}
        for statement in statements:
            ((description, number),) = read(statement.text)
            assert (description,) == statement.parts
            assert judge.referred(description) == statement.referred, statement.text
            assert set(statement.referred) <= labelled
            if statement.referred:
                mutual = statement.text.startswith("the two ")  # "that circle each other": the number is of the clause
                assert len(statement.referred) == (number or 1 + mutual), statement.text
            assert statement.kind == kind_of(description.clause)
            assert statement.motion == needs_motion(description.clause)


def test_true_and_false_are_balanced_clause_by_clause() -> None:
    statements = [s for *_, said in videos() for s in said]
    share = sum(bool(s.referred) for s in statements) / len(statements)
    assert 0.5 < share < 0.62
    true, false = (
        Counter(s.parts[0].clause for s in statements if bool(s.referred) is truth) for truth in (True, False)
    )
    for clause in ("circles", "hides", "moves left", "moves right", "moves up", "moves down", "stays", "leaves"):
        assert 1 / 3 < false[clause] / true[clause] < 3, clause
    assert not any(false[f"{side} {when}"] for side in ("leftmost", "lowest") for when in ("at first", "at last"))


def test_the_number_does_not_give_the_truth_away() -> None:
    """Plural ones are false about as often as singular ones."""
    statements = [s for *_, said in videos() for s in said]
    plural = [s for s in statements if any(word in s.text.split() for word in ("two", "three", "four"))]
    assert len(plural) > 0.15 * len(statements)
    assert 0.3 < sum(bool(s.referred) for s in plural) / len(plural) < 0.7


def test_a_video_depends_on_the_seed_and_its_name_alone() -> None:
    scene, sentences, statements = videos()[3]
    assert make_statements(5, "train_3", scene, sentences) == statements
    assert make_statements(6, "train_3", scene, sentences) != statements
    assert make_scene(5, "train_3")[1] == sentences, "they draw from a stream of their own"


def test_the_objects_they_may_be_about_can_be_any() -> None:
    (scene, *_), (other, *_) = videos()[:2]
    statements = sample_statements(np.random.default_rng(0), scene, other, number=30)
    assert len(statements) == 30
    alone = sample_statements(np.random.default_rng(0), scene, other, number=30, about=[0])
    assert {i for s in alone for i in s.referred} == {0}


def test_the_statements_are_pinned() -> None:
    said = [[s.text, [*s.referred], s.kind, s.motion] for *_, statements in videos() for s in statements]
    assert (VERSION, digest(said)) == (4, "c34654cdd4943b81")


@pytest.mark.parametrize("split", ["train", "dev", "valid_u", "valid"])
def test_only_train_has_them(tmp_path: Path, split: str) -> None:
    write_split(tmp_path / split, split, 1, seed=0)
    index = json.loads((tmp_path / split / "meta_expressions.json").read_text())["videos"]
    (video,) = open_split(tmp_path, split, None, published=False).videos()
    assert ("statements" in index[video.id]) is (split == "train")
    scene, sentences = make_scene(0, video.id)
    assert [e.text for e in video.expressions] == [s.text for s in sentences]
    expected = make_statements(0, video.id, scene, sentences) if split == "train" else []
    assert [(s.text, s.group) for s in video.statements] == [(s.text, s.kind) for s in expected]
    for statement, drawn in zip(video.statements, expected, strict=True):
        assert statement.annotations == tuple(str(i) for i in drawn.referred)  # the first video's ids start at 0


def test_another_version_makes_the_data_set_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = Parameters(0, {"train": 1})
    monkeypatch.setattr("stages.worlds.shapes.write.VERSION", VERSION - 1)
    assert make_data_set(tmp_path / "shapes", parameters)
    monkeypatch.undo()
    assert make_data_set(tmp_path / "shapes", parameters)
    assert not make_data_set(tmp_path / "shapes", parameters)
