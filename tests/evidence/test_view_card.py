"""The view `card`, and several views put together."""

import numpy as np
from support.courses import N_FRAMES, course_scene, line, stay

from stages.evidence.prompts import AGAINST_BLOCK, FOR_BLOCK, ask_of_block
from stages.evidence.questions import Picture
from stages.evidence.views.card import EXPLANATION, GREY, Card, best_frames, draw_crops, trajectory
from stages.evidence.views.compose import compose, joined
from stages.evidence.views.facts import Facts
from stages.micro.tokenizer import qwen_tokenizer


def test_a_trajectory_is_told_at_eight_times():
    scene = course_scene([line((0, 60), (159, 60)), line((40, 100), (40, 20))], hidden=[(1, t) for t in range(12)])
    words = trajectory(scene, 0).split()
    assert (
        words[0] == "h13"
        and words[1::2] == sorted(words[1::2], key=lambda w: int(w[1:]))
        and set(words[2::2]) == {"y50"}
    )
    assert len(words) == 17 and words[1] == "x2" and words[-2] == "x97", "the picture's edge cuts its box"
    assert trajectory(scene, 1).split()[1:5] == ["gone"] * 4
    assert trajectory(course_scene([stay((-50, 0))]), 0).split() == ["gone"] * 8


def test_numbers_are_shares_of_the_picture_and_one_token():
    tokenizer = qwen_tokenizer(512)
    words = trajectory(course_scene([line((20, 20), (140, 100))]), 0)
    assert len(tokenizer.tokenize(words)) == len(words.split()) == 17
    for axis in "xyh":
        assert [len(tokenizer.tokenize(f" {axis}{n}")) for n in range(100)] == [1] * 100
    assert len(tokenizer.tokenize(EXPLANATION)) == len(
        EXPLANATION.replace(",", " ,").replace(":", " :").replace(".", " .").split()
    )


def test_crops_show_the_candidate_in_four_parts_of_its_time():
    scene = course_scene([line((30, 60), (130, 60))], hidden=[(0, t) for t in range(8)])
    frames = best_frames(scene, 0)
    assert len(frames) == 4 and frames[0] >= 8 and (np.diff(frames) > 0).all()
    picture = draw_crops(scene, 0, 64)
    assert picture.shape == (64, 64, 3)
    for y, x in ((16, 16), (16, 48), (48, 16), (48, 48)):
        assert tuple(picture[y, x]) == (255, 0, 0), "it stands in the middle of each crop"


def test_crops_have_one_scale_and_are_grey_where_there_is_nothing():
    growing = draw_crops(course_scene([stay((80, 60))], sides=[np.linspace(8, 40, N_FRAMES)]), 0, 64)
    red = (growing == (255, 0, 0)).all(-1)
    assert red[:32, :32].sum() < red[:32, 32:].sum() < red[32:, :32].sum() < red[32:, 32:].sum()
    assert (draw_crops(course_scene([stay((-50, 0))]), 0, 64) == GREY).all()
    corner = draw_crops(course_scene([stay((0, 0))]), 0, 64)
    assert (corner[0, 0] == GREY).all(), "the picture ends there"


def test_large_boxes_are_shrunk_without_losing_their_middle():
    picture = draw_crops(course_scene([stay((80, 60))], sides=[90.0]), 0, 64)
    for y, x in ((16, 16), (48, 48)):
        assert tuple(picture[y, x]) == (255, 0, 0)


def test_context_holds_every_card_and_about_holds_everything_of_one():
    scene = course_scene([stay((30, 40)), stay((90, 40)), stay((30, 100))])
    composition = compose([Card(64), Facts()], scene, ())
    context, about = composition.context, composition.about(1)
    assert sum(isinstance(part, Picture) for part in context) == 3
    words = "".join(part for part in context if isinstance(part, str))
    assert words.index(" object 1:") < words.index(" is 1.") < words.index(" object 2:") < words.index(" object 3:")
    assert "never moves" not in words, "facts are said of the candidate that is asked about"
    assert (
        about[0] == " object 2:"
        and isinstance(about[1], Picture)
        and "right of 1" in about[2]
        and about[2].endswith(" is 2.")
    )
    assert about[1].digest == context[3].digest
    assert compose([Facts()], scene, ()).context == ()
    assert compose([Card(64)], scene, (), first=5).about(0)[0] == " object 5:"


def test_a_scene_with_some_of_its_candidates():
    scene = course_scene([stay((30, 40)), stay((90, 40)), stay((30, 100))])
    some = scene.only([2, 0])
    assert len(some) == 2 and trajectory(some, 0) == trajectory(scene, 2)
    assert (some.mask(1, 0) == scene.mask(0, 0)).all() and some.n_frames == N_FRAMES
    assert "left of" not in Facts().block(some, 0, 1, ())[0]


def test_neighbouring_words_are_joined_and_pictures_kept():
    picture = Picture(np.zeros((2, 2, 3), np.uint8))
    assert joined([" a", "", " b", picture, " c", " d"]) == (" a b", picture, " c d")


def test_both_polarities_ask_about_the_same_and_end_with_the_description():
    pair = ask_of_block("the red star", 3)
    assert pair == (
        FOR_BLOCK.format(number=3, text="the red star"),
        AGAINST_BLOCK.format(number=3, text="the red star"),
    )
    tokenizer = qwen_tokenizer(512)
    for words in pair:
        assert words.endswith(": the red star") and " object 3 " in words
        assert len(tokenizer.tokenize(words)) == len(words.replace(",", " ,").replace(":", " :").split())
