"""Captions: bars of one height, and a font for every script that the machine has fonts for."""

import numpy as np
import pytest
from PIL import Image

from stages.core.media import fonts
from stages.core.media.captions import add_caption, add_note

TEXTS = ["the dog", "", "狗在跑", "الكلب يركض", "🐕 runs\n\tfast\x00", "\ud800 half", "w" * 500, "many words " * 200]
SCRIPTS = {"狗在跑": "CJK", "الكلب يركض": "Arabic", "कुत्ता": "Devanagari", "собака": "Cyrillic", "🐕": "emoji"}


@pytest.mark.parametrize("text", TEXTS)
def test_captions_of_any_kind_fit_below(text):
    for width in (40, 64, 960):
        frame = np.full((50, width, 3), 9, np.uint8)
        image_HW3 = add_caption(frame, text)
        assert image_HW3.shape[1] == width and np.array_equal(image_HW3[:50], frame)
        assert np.array_equal(image_HW3, add_caption(frame, text))


@pytest.mark.parametrize("width", [16, 64, 320, 960, 1920])
def test_the_height_of_a_bar_depends_on_the_width_alone(width):
    frame = np.zeros((10, width, 3), np.uint8)
    assert len({add_caption(frame, text).shape for text in TEXTS}) == 1


def test_long_captions_are_written_smaller_and_then_cut():
    def rows(text: str) -> int:
        bar_HW3 = add_caption(np.zeros((0, 960, 3), np.uint8), text)
        written = (bar_HW3 > 100).any(axis=(1, 2))
        return int(np.diff(written.astype(int), prepend=0).clip(0).sum())

    assert rows("the dog") >= 1
    assert rows("some words of a sentence " * 12) >= 2
    assert np.array_equal(
        add_caption(np.zeros((0, 320, 3), np.uint8), "word " * 900),
        add_caption(np.zeros((0, 320, 3), np.uint8), "word " * 901),
    )  # both end in an ellipsis


def test_a_note_lies_on_the_upper_edge_and_keeps_the_size():
    frame = np.full((60, 300, 3), 120, np.uint8)
    image_HW3 = add_note(frame, "No object was chosen (best score 0.31 below 0.50)")
    assert image_HW3.shape == frame.shape and (frame == 120).all()
    assert (image_HW3[:8] < 30).any() and (image_HW3[:30] > 150).any() and (image_HW3[40:] == 120).all()
    assert add_note(np.zeros((3, 4, 3), np.uint8), "a note").shape == (3, 4, 3)


@pytest.mark.parametrize("text", SCRIPTS)
def test_each_script_has_its_font_where_one_is_installed(text, monkeypatch, caplog):
    letters = [letter for letter in text if letter.isalnum() or letter == "🐕"]
    able = [file for file in fonts.installed() if all(fonts.has(file, letter) for letter in letters)]
    if not able:
        pytest.skip(f"no font for {SCRIPTS[text]} is installed")
    runs = fonts.runs_of(text)
    assert "".join(piece for piece, _ in runs) == text
    assert all(fonts.has(file, letter) for piece, file in runs for letter in piece if letter in letters)
    assert not caplog.records
    assert (add_caption(np.zeros((0, 300, 3), np.uint8), text) > 100).any()


def test_latin_text_is_in_pillows_own_font_wherever_it_is_drawn():
    assert fonts.runs_of("the dog, 12 metres away") == (("the dog, 12 metres away", None),)


def test_scripts_without_a_font_are_boxes_with_one_warning(monkeypatch, caplog):
    monkeypatch.setattr(fonts, "installed", tuple)
    monkeypatch.setattr(fonts, "_WARNED", set())
    fonts.runs_of.cache_clear()
    for text in ("狗在跑", "狗在", "跑 the dog"):
        assert fonts.runs_of(text)[0][1] is None
    fonts.runs_of.cache_clear()
    (record,) = caplog.records
    assert "(CJK)" in record.getMessage() and "render.font" in record.getMessage()


def test_a_chosen_font_goes_first_and_must_be_one(tmp_path):
    files = [file for file in fonts.installed() if fonts.has(file, "a") and not fonts._is_bitmap(file)]
    if files:
        assert fonts.runs_of("the dog", files[0]) == (("the dog", files[0]),)
    (tmp_path / "font.ttf").write_text("no font")
    with pytest.raises(ValueError, match=r"render\.font: .*font\.ttf: not readable as a font"):
        fonts.runs_of("the dog", str(tmp_path / "font.ttf"))


def test_colour_emoji_are_drawn_in_colour():
    file = next((f for f in fonts.installed() if fonts._is_bitmap(f) and fonts.has(f, "🐕")), None)
    if file is None:
        pytest.skip("no font of colour emoji is installed")
    image = Image.new("RGB", (60, 40))
    fonts.draw(image, (5, 5), "🐕", 24, (255, 255, 255), file)
    assert np.ptp(np.asarray(image).astype(int), axis=2).max() > 40
    assert 15 < fonts.length("🐕", 24, file) < 40
