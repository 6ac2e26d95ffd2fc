"""Names from sentences: readable in every script, unique, short enough, sound on every file system."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.delivery.names import DEVICES, MAX_BYTES, joined, slug, slugs


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
