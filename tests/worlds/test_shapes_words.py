"""The embedded data set: what words mean, by hand, and that programs do what they are called."""

from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.shapes_scenes import SIZE, facts, line, pair, ring, scene, thing

from stages.worlds.shapes import relations, words
from stages.worlds.shapes.clauses import CLAUSES, RELATIONS
from stages.worlds.shapes.facts import Facts, facts_of
from stages.worlds.shapes.motion import GROWTH, PROGRAMS, Stage, path_of
from stages.worlds.shapes.pairs import PAIRS, hide, paths_of
from stages.worlds.shapes.scene import Wall


# ------------------------------------------------------------------------------------------------ one object
def test_directions_by_hand() -> None:
    left = facts(line((100, 40), (-5, 0.5)))
    assert [words.moves(d, left) for d in ("left", "right", "up", "down")] == [True, False, False, None]
    assert (words.stops(left), words.bounces(left), words.circles(left), words.curves(left)) == (False,) * 4


def test_a_camera_that_tells_another_story_makes_a_direction_unclear() -> None:
    path, camera = line((40, 40), (2, 0)), line((0, 0), (3, 0))
    assert facts_of(scene(thing(path))).objects[0].image_T2[-1, 0] == 62
    assert words.moves("right", facts_of(scene(thing(path))).objects[0]) is True
    assert words.moves("right", facts_of(scene(thing(path), camera=camera)).objects[0]) is None


def test_standing_by_hand() -> None:
    path = [*line((20, 40), (5, 0), 5), *[(45, 40)] * 5, *line((50, 40), (5, 0), 4)]
    pauses = facts(path)
    assert words.stops_and_goes(pauses) is True and words.moves("right", pauses) is True
    assert (words.stops(pauses), words.sets_off(pauses), words.stays(pauses)) == (None, None, False)
    halts, starts = facts(path[:10]), facts(path[5:])
    assert (words.stops(halts), words.stops_and_goes(halts), words.sets_off(halts)) == (True, False, False)
    assert (words.sets_off(starts), words.stops_and_goes(starts), words.stops(starts)) == (True, False, False)
    still = facts([(50, 40)] * 12)
    assert words.stays(still) is True and words.stops(still) is None  # it never moved: has it stopped?
    assert words.stays(facts([(50, 40)] * 12, shape="square", angle_T=np.linspace(0, 90, 12))) is None


def test_turning_by_hand() -> None:
    at_edge = facts([*line((60, 40), (10, 0), 7), *line((110, 40), (-10, 0), 5)])
    assert words.bounces(at_edge) is True and words.moves("right", at_edge) is None
    in_mid_air = facts([*line((30, 40), (5, 0), 7), *line((55, 40), (-5, 0), 6)])
    assert (words.turns_round(in_mid_air), words.bounces(in_mid_air)) == (True, None)
    back = partial(words.there_and_back)
    assert (back("right", in_mid_air), back("left", in_mid_air), back("up", in_mid_air)) == (True, False, False)
    round_about = facts(ring((60, 60), 20))
    assert (words.circles(round_about), words.curves(round_about)) == (True, None)
    arc = facts(ring((60, 60), 40, degrees=90))
    assert (words.curves(arc), words.circles(arc), words.turns_round(arc)) == (True, False, False)


def test_entering_and_leaving_by_hand() -> None:
    enters, leaves = facts(line((-16, 40), (6, 0))), facts(line((50, 40), (-6, 0)))
    for found, truths in ((enters, (True, False, False)), (leaves, (False, True, False))):
        assert (words.enters(found), words.leaves(found), words.returns(found)) == truths
    assert words.enters(facts(line((2, 40), (6, 0)))) is None  # half in at the start
    away = facts([*line((20, 40), (-6, 0), 7), *line((-16, 40), (6, 0), 7)])
    assert (words.returns(away), words.enters(away), words.leaves(away)) == (True, None, None)
    lingers = facts([*line((20, 40), (-6, 0), 7), *[(-16, 40)] * 4, *line((-16, 40), (6, 0), 7)])
    for found in (away, lingers):  # it turns where nobody sees it
        assert words.there_and_back("left", found) is words.turns_round(found) is words.bounces(found) is None


def test_hiding_by_hand() -> None:
    wall = (Wall(50, 20, 80, 60),)
    through = facts_of(scene(thing(line((20, 40), (4, 0), 24)), walls=wall)).objects[0]
    assert (words.hides(through), words.hides_and_reappears(through), words.hides_for_good(through)) == (
        True,
        True,
        False,
    )
    into = facts_of(scene(thing([*line((20, 40), (5, 0), 10), *[(65, 40)] * 5]), walls=wall)).objects[0]
    assert (words.hides(into), words.hides_and_reappears(into), words.hides_for_good(into)) == (True, False, True)
    beside = facts_of(scene(thing(line((20, 100), (4, 0), 24)), walls=wall)).objects[0]
    assert words.hides(beside) is False


def test_changes_by_hand() -> None:
    path = [(60.0, 60.0)] * 12
    swelling = facts(path, radius_T=np.linspace(8, 14, 12))
    assert (words.grows(swelling), words.shrinks(swelling), words.spins(swelling)) == (True, False, False)
    turning = np.linspace(0, 270, 12)
    assert words.spins(facts(path, shape="star", angle_T=turning)) is True
    assert words.spins(facts(path, shape="circle", angle_T=turning)) is None  # a plain disc: who could tell?
    assert words.spins(facts(path, shape="circle", texture="striped", angle_T=turning)) is True


def test_places_by_hand() -> None:
    assert words.lies("left", facts(line((12, 40), (2, 0)))) is True
    assert words.lies("right", facts(line((12, 40), (2, 0)))) is False
    assert words.lies("left", facts(line((12, 40), (5, 0)))) is None
    assert words.lies("down", facts(line((12, 100), (5, 0)))) is True


def test_a_hidden_motion_is_not_spoken_of() -> None:
    path = line((40, 40), (4, 0))
    hidden = facts_of(scene(thing(path), thing(path, radius=14))).objects[0]
    assert words.moves("right", hidden) is True and CLAUSES["moves right"].holds(hidden) is None
    assert CLAUSES["moves left"].holds(hidden) is False


# ----------------------------------------------------------------------------------------------- two objects
def test_relations_by_hand() -> None:
    behind = pair(line((20, 40), (3, 0)), line((42, 40), (3, 0)))
    assert (relations.follows(behind, 0, 1), relations.follows(behind, 1, 0)) == (True, False)
    assert relations.overtakes(behind, 0, 1) is False
    assert (relations.lies_of("left", behind, 0, 1), relations.lies_of("left", behind, 1, 0)) == (True, False)
    assert relations.lies_of("up", behind, 0, 1) is False
    passing = pair(line((20, 40), (6, 0)), line((40, 60), (2, 0)))
    assert (relations.overtakes(passing, 0, 1), relations.overtakes(passing, 1, 0)) == (True, False)
    meeting = pair(line((20, 40), (3, 0)), line((105, 40), (-3, 0)))
    assert (relations.approach_each_other(meeting, 0, 1), relations.part(meeting, 0, 1)) == (True, False)
    assert relations.follows(meeting, 0, 1) is False


def test_circling_by_hand() -> None:
    around = pair(ring((60, 60), 22), [(60, 60)] * 24)
    assert (relations.circles_around(around, 0, 1), relations.circles_around(around, 1, 0)) == (True, None)
    both = pair(ring((60, 60), 14), ring((60, 60), 14, start=180))
    assert relations.circle_each_other(both, 0, 1) is relations.circle_each_other(both, 1, 0) is True
    assert relations.follows(both, 0, 1) is not True


def test_covering_by_hand() -> None:
    crossing = facts_of(scene(thing([(60, 60)] * 20), thing(line((10, 60), (5, 0), 20), "square", 14)))
    assert (relations.covers(crossing, 1, 0), relations.covers(crossing, 0, 1)) == (True, False)


# -------------------------------------------------------------------------------------------------- programs
OWN_WORDS = {
    "still": ("stays",),
    "straight": ("moves left", "moves right", "moves up", "moves down"),
    "curve": ("curves",),
    "stop and go": ("stops and goes",),
    "stop": ("stops",),
    "set off": ("sets off",),
    "turn round": ("turns round",),
    "bounce": ("bounces",),
    "orbit": ("circles",),
    "enter": ("enters",),
    "leave": ("leaves",),
    "leave and return": ("returns",),
    "grow": ("grows",),
    "shrink": ("shrinks",),
    "spin": ("spins",),
}
OWN_RELATIONS = {
    "follow": "follows",
    "overtake": "overtakes",
    "approach": "approach",
    "part": "part",
    "circle each other": "circle each other",
    "circle around": "circles around",
}


def perform(motion: str, seed: int, n_frames: int) -> Facts:
    stage = Stage(np.random.default_rng(seed), n_frames, SIZE, 8.0 * max(1.0, GROWTH.get(motion, 1.0)))
    path_T2 = path_of(motion, stage)
    assert path_T2.shape == (n_frames, 2) and (path_T2 * 16 == np.round(path_T2 * 16)).all()
    u_T = np.linspace(0, 1, n_frames)
    angle_T = 250 * u_T if motion == "spin" else 0 * u_T
    return facts(path_T2, shape="star", radius_T=8.0 * GROWTH.get(motion, 1.0) ** u_T, angle_T=angle_T)


@pytest.mark.parametrize("motion", PROGRAMS)
def test_every_program_does_what_its_name_says(motion: str) -> None:
    done = []
    for seed, n_frames in product(range(6), (16, 23, 40)):
        found = perform(motion, seed, n_frames)
        truths = [CLAUSES[word].means(found) for word in OWN_WORDS[motion]]
        assert any(truth is not False for truth in truths), (seed, n_frames)
        done.append(any(truths))
    assert np.mean(done) > 0.75


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(PROGRAMS)), st.integers(12, 40))
def test_programs_are_told_apart(seed: int, motion: str, n_frames: int) -> None:
    found = perform(motion, seed, n_frames)
    for word in (
        "stops",
        "stops and goes",
        "sets off",
        "turns round",
        "bounces",
        "circles",
        "enters",
        "returns",
        "grows",
    ):
        if word not in OWN_WORDS[motion]:
            assert CLAUSES[word].means(found) is not True, word


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_does_what_its_name_says(name: str) -> None:
    done = []
    for seed, n_frames in product(range(6), (16, 23, 40)):
        stage = Stage(np.random.default_rng(seed), n_frames, SIZE, 8.0)
        found = pair(*paths_of(name, stage, 8.0, 8.0))
        truths = {r: RELATIONS[r].means(found, 0, 1) for r in OWN_RELATIONS.values()}
        assert truths.pop(OWN_RELATIONS[name]) is not False, (seed, n_frames)
        done.append(RELATIONS[OWN_RELATIONS[name]].means(found, 0, 1))
        if name == "circle around":  # who circles around a thing that stands may not be said to circle each other
            assert truths.pop("circle each other") is not True
        assert not any(truth is True for truth in truths.values()), truths
    assert np.mean([truth is True for truth in done]) > 0.75


def test_who_hides_is_hidden() -> None:
    for seed in range(12):
        path_T2, wall = hide(Stage(np.random.default_rng(seed), 24, SIZE, 8.0))
        found = facts_of(scene(thing(path_T2, "star"), walls=(wall,))).objects[0]
        assert words.hides(found) is True
