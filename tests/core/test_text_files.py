"""Text and JSON files that people bring: what is read, and in which words the rest is refused."""

import os
from pathlib import Path

import pytest

from stages.core.text_files import read_json, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_editors_of_all_kinds_are_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": "é 视频"}', encoding=encoding)
    assert read_json(path) == {"a": "é 视频"} and read_text(path) == '{"a": "é 视频"}'


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('{"a": [1, ],\n "b": 2}', "1:11", "a comma before the closing bracket"),
        ('{"a": 1,\n}', "2:1", "a comma before the closing bracket"),
        ('{"a": 1, // the first\n "b": 2}', "1:10", "a comment"),
        ('{"a": 1 /* the first */}', "1:9", "a comment"),
        ("# own videos\n{}", "1:1", "a comment"),
        ("{'a': 1}", "1:2", "quotes of another kind"),
        ("{\"a\": ['the dog']}", "1:8", "quotes of another kind"),
        ("{“a”: 1}", "1:2", "quotes of another kind"),
        ("{a: 1}", "1:2", "a name without quotes"),
        ('{"a": True}', "1:7", "true, false, null"),
        ('{"a": "x"\n "b": 2}', "2:2", "a comma is missing"),
        ('["a" "b"]', "1:6", "a comma is missing"),
        ('{"a": 1}\n{"b": 2}', "2:1", "more follows where the document has ended"),
        ("[1,, 2]", "1:4", "a comma without a value before it"),
        ('{"a": "the dog}', "1:7", "a text without its closing quotes"),
        ('{"a": "two\nlines"}', "1:11", "a line break or tab inside a text"),
        ('{"a": "C:\\dog"}', "1:10", "a backslash in a text"),
        ('{"a": ', "1:7", "ends too early"),
        (" \n", "2:1", "the file is empty"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, place: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}:{place}: broken JSON (") and words in str(caught.value)


def test_what_is_no_readable_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match=r"a\.json: the list does not exist"):
        read_text(path, "list")
    path.symlink_to(tmp_path / "gone.json")
    with pytest.raises(ValueError, match=r"a\.json: a link to .*gone\.json, which is not there"):
        read_text(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=r"a\.json: .*a folder, not a file"):
        read_text(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="a pipe or device, not a file"):  # and is not waited for
        read_text(tmp_path / "pipe")
    (tmp_path / "b").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"b: not UTF-8 \(byte 3\); save it as UTF-8"):
        read_text(tmp_path / "b")
