"""The view `facts`: hand-made courses are described as anyone would describe them."""

import numpy as np
import pytest
from support.courses import N_FRAMES, circle, course_scene, line, stay

from stages.evidence.views.camera import camera_path
from stages.evidence.views.facts import Facts, facts_of, in_words
from stages.micro.tokenizer import qwen_tokenizer
from stages.micro.training.mllm.generate import sample_world, scene_of, true_tracks
from stages.worlds.shapes.clip import draw_clip
from stages.worlds.shapes.meaning import Description, Judge, Looks

MIDDLE = (80.0, 60.0)
SIDES = {"leftmost": "left", "rightmost": "right"}
COMPARED = {
    "fastest": {"fastest"},
    "slowest": {"slowest"},
    **{side: {f"outermost {edge}"} for side, edge in SIDES.items()},
    **{f"{side} at first": {f"outermost {edge}", f"starts outermost {edge}"} for side, edge in SIDES.items()},
    **{f"{side} at last": {f"outermost {edge}", f"ends outermost {edge}"} for side, edge in SIDES.items()},
}


def said(paths, n=0, **more):
    """The phrases about a candidate, as words → numbers of others, counted from 0."""
    return {phrase.words: phrase.others for phrase in facts_of(course_scene(paths, **more))[n]}


WAYS = {
    "moves left": line((120, 60), (60, 60)),
    "moves right": line((40, 60), (100, 60)),
    "moves up": line((80, 90), (80, 30)),
    "moves down": line((80, 30), (80, 90)),
    "moves up right": line((40, 90), (100, 30)),
    "never moves": stay(MIDDLE),
    "moves right then back left": np.concatenate([line((50, 60), (100, 60), 12), line((96, 60), (52, 60), 12)]),
    "turns back inside": np.concatenate([line((50, 60), (100, 60), 12), line((96, 60), (52, 60), 12)]),
    "bounces at the edge": np.concatenate([line((100, 60), (151, 60), 12), line((147, 60), (100, 60), 12)]),
    "stops for good": np.concatenate([line((40, 60), (100, 60), 12), stay((100, 60), 12)]),
    "sets off late": np.concatenate([stay((40, 60), 12), line((40, 60), (100, 60), 12)]),
    "pauses": np.concatenate([line((30, 60), (70, 60), 8), stay((70, 60), 8), line((70, 60), (110, 60), 8)]),
    "in a circle": circle(MIDDLE, 25),
    "on a curve": circle((40, 90), 55, -0.25),
    "enters left": line((-40, 60), (70, 60)),
    "leaves right": line((90, 60), (210, 60)),
    "leaves top": line((80, 40), (80, -60)),
    "always left": line((20, 20), (30, 100)),
    "always bottom": line((20, 100), (140, 100)),
    "starts at top left": line((20, 15), (140, 105)),
    "ends at bottom right": line((20, 15), (140, 105)),
    "ends at centre": line((20, 15), MIDDLE),
}


@pytest.mark.parametrize("words", WAYS)
def test_a_course_is_described_by_what_it_does(words):
    assert words in said([WAYS[words]])


def test_what_does_not_happen_is_not_said():
    straight = set(said([line((40, 60), (100, 60))]))
    assert straight == {"moves right", "starts at left", "ends at centre"}
    assert set(said([stay(MIDDLE)])) == {"never moves", "starts at centre", "ends at centre"}


def test_growth_and_sight():
    size = np.linspace(14, 28, N_FRAMES)
    assert "grows" in said([stay(MIDDLE)], sides=[size]) and "shrinks" in said([stay(MIDDLE)], sides=[size[::-1]])
    path = line((40, 60), (110, 60))
    assert "hidden for a while" in said([path], hidden=[(0, t) for t in range(9, 14)])
    assert "vanishes inside" in said([path], hidden=[(0, t) for t in range(14, N_FRAMES)])
    assert "appears inside" in said([path], hidden=[(0, t) for t in range(8)])
    away = np.concatenate([line((30, 60), (-30, 60), 12), line((-30, 60), (30, 60), 12)])
    assert "leaves and returns" in said([away])
    assert said([path, stay(MIDDLE)], hidden=[(0, t) for t in range(N_FRAMES)]) == {"hardly seen": ()}


def test_places_of_two():
    left, right, low = stay((30, 40)), stay((90, 40)), stay((30, 110))
    found = said([left, right, low])
    assert found["left of"] == (1,) and found["above"] == (2,) and "outermost left" not in found
    assert said([left, right, low], 1)["right of"] == (0,) and "outermost right" in said([left, right, low], 1)
    assert said([left, right, low], 2)["below"] == (0, 1) and "outermost bottom" in said([left, right, low], 2)
    crossing = [line((30, 40), (130, 40)), line((130, 50), (30, 50))]
    assert not {"left of", "right of"} & set(said(crossing)), "they change sides"


def test_what_two_do_to_each_other():
    ahead, behind = line((50, 60), (130, 60)), line((20, 60), (100, 60))
    assert said([behind, ahead])["follows"] == (1,) and said([behind, ahead], 1)["followed by"] == (0,)
    slow, fast = line((60, 60), (90, 60)), line((20, 45), (140, 45))
    assert said([fast, slow])["overtakes"] == (1,) and said([fast, slow], 1)["overtaken by"] == (0,)
    assert said([fast, slow])["faster than"] == (1,) and said([fast, slow], 1)["slower than"] == (0,)
    assert said([circle(MIDDLE, 24), stay(MIDDLE)])["circles"] == (1,)
    meeting = [line((30, 60), (70, 60)), line((130, 60), (90, 60))]
    assert said(meeting)["approaches"] == (1,) and "parts from" not in said(meeting)
    assert said([path[::-1] for path in meeting])["parts from"] == (1,)
    assert not {"follows", "overtakes", "circles", "approaches", "parts from"} & set(
        said([stay((30, 30)), stay((90, 90))])
    )


def test_what_hides_another_passes_in_front():
    scene = course_scene([line((40, 60), (120, 60)), stay(MIDDLE)])
    met = abs(scene.centre_NT2[0, :, 0] - 80) < 12
    scene.area_NT[1, met] //= 3
    phrases = [{p.words: p.others for p in of} for of in facts_of(scene)]
    assert phrases[0]["passes in front of"] == (1,) and phrases[1]["passed in front by"] == (0,)
    assert "passes in front of" not in said([line((40, 60), (120, 60)), stay(MIDDLE)]), "nothing of it is hidden"


def test_who_does_it_first():
    early = line((40, 30), (230, 30))
    late = line((40, 90), (185, 90))
    found = [said([early, late, stay(MIDDLE)], n) for n in range(3)]
    assert found[0]["before"] == (1,) and found[1]["after"] == (0,)
    assert "before" not in found[2] and "after" not in found[2]
    assert "first" in found[0] and "last" in found[1] and not {"first", "last"} & set(found[2])


def test_who_is_the_fastest_of_all():
    paths = [line((20, 20), (140, 20)), line((40, 60), (90, 60)), line((60, 100), (85, 100)), stay((150, 110))]
    found = [said(paths, n) for n in range(4)]
    assert ["fastest" in of for of in found] == [True, False, False, False]
    assert ["slowest" in of for of in found] == [False, False, True, False], "what stands has no speed"
    assert not {"fastest", "slowest"} & set(said([line((40, 60), (100, 60)), stay(MIDDLE)]))


def test_who_is_outermost_at_one_end():
    crossing = [line((30, 40), (130, 40)), line((130, 50), (30, 50)), stay(MIDDLE)]
    found = [said(crossing, n) for n in range(3)]
    assert {"starts outermost left", "ends outermost right"} <= set(found[0]) and "outermost left" not in found[0]
    assert {"starts outermost right", "ends outermost left"} <= set(found[1])
    assert not any("outermost" in words for words in found[2] if not words.endswith("bottom"))
    assert "starts outermost left" not in said([stay((30, 40)), stay((90, 40))]), "it always is, which is said once"


def test_comparisons_agree_with_what_was_drawn():
    """On tracks without an error what the generator calls the fastest, or leftmost at first, is called so by the facts."""
    agreed = 0
    for seed in range(24):
        rng = np.random.default_rng([11, 7, seed])
        world = sample_world(rng)
        clip = draw_clip(rng, world)
        tracks = true_tracks(clip)
        phrases = [{phrase.words for phrase in of} for of in facts_of(scene_of(clip, tracks))]
        judge = Judge(world)
        for clause, words in COMPARED.items():
            referred = judge.referred(Description(Looks(), clause))
            if referred:
                told = [bool(words & of) for of in phrases]
                assert told == [int(share_O.argmax()) in referred for share_O in tracks.shares_NO], (seed, clause)
                agreed += 1
    assert agreed > 20


def test_drift_of_the_camera_is_no_motion():
    drift = np.stack([np.linspace(0, 9, N_FRAMES), np.linspace(0, -5, N_FRAMES)], 1)
    still = course_scene([stay(MIDDLE)], camera=drift)
    np.testing.assert_allclose(camera_path(still)[-1], drift[-1].round(), atol=0.7)
    assert {"never moves"} <= {phrase.words for phrase in facts_of(still)[0]}


def test_numbers_follow_the_candidates_own():
    scene = course_scene([stay((30, 40)), stay((90, 40))])
    assert " left of 8" in Facts().block(scene, 0, 7, ())[0] and " right of 7" in Facts().block(scene, 1, 8, ())[0]
    assert in_words(facts_of(scene)[0], 1) == in_words(facts_of(course_scene([stay((30, 40)), stay((90, 40))]))[0], 1)


def test_every_word_is_one_token_and_a_block_is_short():
    tokenizer = qwen_tokenizer(512)
    crowd = [stay((20 + 25 * n, 30 + 10 * (n % 3))) for n in range(4)] + [WAYS["pauses"], circle(MIDDLE, 40)]
    scenes = [course_scene([path, stay((140, 20))]) for path in WAYS.values()]
    for scene in [course_scene(crowd), *scenes]:
        for n in range(len(scene)):
            (words,) = Facts().block(scene, n, n + 1, ())
            pieces = tokenizer.tokenize(words)
            assert len(pieces) == len(words.replace(",", " ,").split()) <= 60, words
