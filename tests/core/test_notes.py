"""Notes of loops over files: one per kind, with a count and an example."""

import logging

import pytest

from stages.core.notes import Notes, once_per_kind, shape


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/a/b/00001.png: is of size (9, 10)", "/c/0.png: is of size (480, 854)"),
        ("video \"dog's\", expression '3': has no caption", "video 'x', expression '12': has no caption"),
        ("the folder isn't there: /a", "the folder isn't there: /b/c"),
        ("/x.json:4:12: broken", "/y.json:1:1: broken"),
    ],
)
def test_names_and_numbers_make_no_other_kind(one: str, other: str) -> None:
    assert one != other and shape(one) == shape(other)


def test_different_words_are_different_kinds() -> None:
    assert shape("/a: is missing") != shape("/a: is damaged")
    assert shape("video 'a': has no word") != shape("video 'a': has no caption")


def test_a_hundred_thousand_files_are_a_line() -> None:
    notes = Notes(f"/set/JPEGImages/v/{n:05d}.jpg: frame is missing; restore it" for n in range(100_000))
    notes.add("/set/index.json: holds 3 videos")
    assert notes.lines() == [
        "/set/JPEGImages/v/00000.jpg: frame is missing; restore it [and 99999 more of this kind]",
        "/set/index.json: holds 3 videos",
    ]


def test_a_log_says_a_kind_once_and_then_how_many(caplog: pytest.LogCaptureFixture) -> None:
    reader, other = logging.getLogger("stages.datasets.x"), logging.getLogger("stages.runner")
    with once_per_kind([caplog.handler], "stages.datasets"):
        for n in range(350):
            reader.warning("%s: object %d is never seen", f"/v{n}", n)
            other.warning("video %d failed", n)
        reader.warning("no such kind before")
        assert len(caplog.records) == 352
    said = [record.getMessage() for record in caplog.records if record.name == reader.name]
    assert said == [
        "/v0: object 0 is never seen",
        "no such kind before",
        "/v0: object 0 is never seen [and 349 more of this kind]",
    ]
    reader.warning("%s: object %d is never seen", "/v", 1)
    assert caplog.records[-1].getMessage() == "/v: object 1 is never seen"
