"""Names from sentences: readable in every script, unique, short enough, sound on every file system."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.delivery.names import DEVICES, MAX_BYTES, MAX_FOLDER, folders, joined, slug, slugs


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The dog that turns around.", "the-dog-that-turns-around"),
        ("转身跑向镜头的狗", "转身跑向镜头的狗"),
        ("الكلب البنيّ", "الكلب-البنيّ"),
        ("वह कुत्ता जो मुड़ता है", "वह-कुत्ता-जो-मुड़ता-है"),
        ("  a/b\\c: *?  ", "a-b-c"),
        ("cafe\u0301", "caf\u00e9"),
        ("…", "sentence-b49358"),
        ("con", "con-1143da"),
    ],
)
def test_a_sentence_is_its_name(text, name):
    assert slug(text) == name


def test_equal_names_are_told_apart():
    names = slugs(["The dog", "the dog!", "the cat"])
    assert len(set(names)) == 3 and names[2] == "the-cat"
    assert all(name.startswith("the-dog-") for name in names[:2])
    assert slugs(["The dog"]) == ["the-dog"]


def test_several_sentences_have_one_name():
    assert joined(["the dog", "a cat"]) == "the-dog+a-cat"
    long = joined(["the dog " * 5, "a cat " * 9])
    assert len(long.encode()) <= MAX_BYTES and long.startswith("the-dog-the-dog")
    assert long != joined(["the dog " * 5, "a cat " * 8 + "a cow"])


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True))
def test_any_texts_give_sound_names(texts):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    if len(set(texts)) < len(texts):
        return
    names = slugs(texts)
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert 0 < len(name.encode()) <= MAX_BYTES and name not in DEVICES
        assert not set(name) & set('/\\:*?"<>| \n\0') and name[0] not in ".-"


def test_folders_are_called_as_their_videos_and_told_apart():
    digits = ["1", "2", "3", "4"]
    assert folders(["dog", "Cat", "-x", "\U0001f415 it's"], digits) == ["dog", "Cat", "-x", "\U0001f415 it's"]
    assert folders(["dog", "Dog", "cafe\u0301", "caf\u00e9"], digits) == [
        "dog-1",
        "Dog-2",
        "cafe\u0301-3",
        "caf\u00e9-4",
    ]
    assert folders(["a\nb", "..", ".a", ""], digits) == ["a b", "video-2", "a", "video-4"]
    long = folders(["\u00e9" * 127, "\u00e9" * 126, "x" * 255, "y"], digits)
    assert len(set(long)) == 4 and all(len(name.encode()) <= MAX_FOLDER + 2 for name in long)
