"""Overlays: colours that people tell apart, sizes that go with the picture, labels in any script, nothing without a mask."""

from itertools import combinations

import cv2
import numpy as np
import pytest
from support.segmented import box

from stages.core.media import fonts
from stages.core.media.overlays import COLOURS, Marked, colour_of, draw_overlay, letter_size

# Machado, Oliveira, Fernandes 2009, severity 1: linear RGB as it is seen without one kind of cone.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3),
}
GREY = np.full((120, 160, 3), 100, np.uint8)


def lab(colours: np.ndarray, seen: str) -> np.ndarray:
    linear = (colours / 255.0) ** 2.2 @ np.asarray(BLIND[seen]).T
    shown = np.clip(linear, 0, 1) ** (1 / 2.2)
    return cv2.cvtColor(shown[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]


@pytest.mark.parametrize("seen", BLIND)
def test_colours_are_told_apart_with_any_eyes(seen):
    distances = [np.linalg.norm(a - b) for a, b in combinations(lab(np.asarray(COLOURS, float), seen), 2)]
    assert min(distances) > 9  # 2.3 is just noticeable


def test_colours_go_with_numbers_and_repeat():
    assert len(set(COLOURS)) == 7 and colour_of(8) == colour_of(1) == COLOURS[1]


def test_the_tint_is_inside_the_border_around_and_nothing_else_changes():
    mask_HW = box((120, 160), 30, 40, 60, 60)
    mask_HW[50:70, 60:80] = False
    image_HW3 = draw_overlay(GREY, [Marked(1, mask_HW)], 0.5)
    assert np.abs(image_HW3[40, 50] - (50 + np.asarray(colour_of(1)) / 2)).max() <= 1
    assert image_HW3[30, 70].tolist() == image_HW3[49, 70].tolist() == list(colour_of(1))  # the hole has a border
    assert (image_HW3[60, 70] == 100).all() and (image_HW3[:28] == 100).all() and (GREY == 100).all()


@pytest.mark.parametrize("size", [(72, 128), (480, 854), (2160, 3840)])
def test_letters_and_lines_go_with_the_picture(size):
    frame_HW3 = np.full((*size, 3), 100, np.uint8)
    mask_HW = box(size, size[0] // 2, size[1] // 4, size[0] // 3, size[1] // 4)
    bare = draw_overlay(frame_HW3, [Marked(0, mask_HW)], 0.5)
    labelled = draw_overlay(
        frame_HW3, [Marked(0, mask_HW, "the dog that turns around and runs off again", "0.93")], 0.5
    )
    ys, xs = np.nonzero((bare != labelled).any(-1))
    assert np.ptp(ys) + 1 >= letter_size(size) >= max(11, size[0] / 40)
    assert np.ptp(xs) + 1 <= size[1] * 0.8 and np.ptp(ys) + 1 <= size[0] * 0.45
    assert (labelled[ys.min() : ys.max(), xs.min() : xs.max()].max(-1) < 90).any()  # dark letters on orange


def test_labels_stay_in_the_picture_and_off_each_other():
    masks_2HW = [box((240, 320), 0, 300, 20, 20), box((240, 320), 2, 296, 24, 20)]
    texts = ["الكلب البني", "那只棕色的狗"]
    image_HW3 = draw_overlay(
        np.full((240, 320, 3), 100, np.uint8),
        [Marked(number, mask_HW, text, "0.50") for number, (mask_HW, text) in enumerate(zip(masks_2HW, texts))],
        0.0,
    )
    for number in range(2):
        assert (np.abs(image_HW3.astype(int) - colour_of(number)).max(-1) < 3).sum() > 300  # its label's ground


@pytest.mark.parametrize("text", ["الكلب", "狗", "วิ่ง", "कुत्ता", "dog 🐕"])
def test_scripts_have_letters_of_their_own(text, caplog):
    file = next((piece[1] for piece in fonts.runs_of(text) if piece[1]), None)
    if file is None:
        pytest.skip(f"no font here has {text!r}")
    frame_HW3 = np.full((240, 320, 3), 100, np.uint8)
    mask_HW = box((240, 320), 100, 100, 50, 50)
    drawn, boxes = (draw_overlay(frame_HW3, [Marked(0, mask_HW, words)], 0.5) for words in (text, "\U0010fffd" * 3))
    assert (drawn != boxes).any() and not caplog.records[1:]


@pytest.mark.parametrize("text", ["วิ่ง", "개 🐕", "הכלב"])
def test_scores_are_read_beside_every_script(text):
    """Fonts of scripts often lack digits: another font has them, in the label of the same object and in the others."""
    if not any(file for _, file in fonts.runs_of(text)):
        pytest.skip(f"no font here has {text!r}")
    frame_HW3, masks_2HW = np.full((240, 320, 3), 100, np.uint8), [box((240, 320), 100, x, 50, 50) for x in (20, 220)]
    pictures = [
        draw_overlay(frame_HW3, [Marked(0, masks_2HW[0], text, figure), Marked(1, masks_2HW[1], "", figure)], 0.5)
        for figure in ("0.93", "0.78")
    ]
    for half in (slice(0, 160), slice(160, 320)):
        assert (pictures[0][:, half] != pictures[1][:, half]).any()


def test_nothing_visible_leaves_the_frame_and_sizes_are_checked():
    assert np.array_equal(draw_overlay(GREY, [Marked(0, np.zeros((120, 160), bool), "dog", "0.9")], 0.5), GREY)
    with pytest.raises(ValueError, match=r"a mask of \(4, 4\) cannot be drawn on a frame of \(120, 160\)"):
        draw_overlay(GREY, [Marked(0, np.ones((4, 4), bool))], 0.5)
