"""The embedded data set: sentences fit exactly the objects they name, and need what they are meant to need."""

from collections import Counter
from functools import cache

import numpy as np
from support.shapes_reader import read
from support.shapes_scenes import line, scene, thing

from stages.core.digests import digest
from stages.worlds.shapes.facts import facts_of
from stages.worlds.shapes.grammar import KINDS, Sentence
from stages.worlds.shapes.meaning import Description, Judge, Looks, kind_of, needs_motion
from stages.worlds.shapes.scene import Scene
from stages.worlds.shapes.write import make_scene


def test_an_unclear_object_makes_a_description_unusable() -> None:
    slanted = thing(line((100, 20), (-5, 1)))
    judge = Judge(scene(slanted, thing(line((20, 90), (5, 0)), "square")))
    assert judge.referred(Description(Looks(), "moves left")) == (0,)
    assert judge.referred(Description(Looks(), "moves down")) is None
    assert judge.referred(Description(Looks(shape="square"), "moves down")) == ()


def test_order_and_comparison_by_hand() -> None:
    leaving = [thing(line((x, y), (-6, 0), 16), "star") for x, y in ((70, 30), (30, 60))]
    judge = Judge(scene(*leaving, thing(line((20, 110), (5, 0), 16))))
    assert judge.referred(Description(Looks(shape="star"), "first leaves")) == (1,)
    assert judge.referred(Description(Looks(), "last leaves")) == (0,)
    assert judge.referred(Description(Looks(), "first enters")) is None
    assert judge.referred(Description(Looks(shape="star"), "leftmost at first")) == (1,)
    assert judge.referred(Description(Looks(shape="circle"), "leftmost at first")) is None  # of one there is no order
    runners = Judge(scene(thing(line((10, 30), (2, 0))), thing(line((10, 60), (6, 0))), thing(line((10, 90), (3, 0)))))
    assert runners.referred(Description(Looks(), "fastest")) == (1,)


def test_of_a_thing_that_grows_no_size_is_said() -> None:
    path = [(60.0, 60.0)] * 12
    judge = Judge(scene(thing(path, radius_T=np.linspace(8, 14, 12)), thing([(20.0, 20.0)] * 12, "square")))
    assert judge.referred(Description(Looks(size="small"))) is None
    assert judge.referred(Description(Looks(size="small", shape="square"))) == (1,)


@cache
def clips() -> list[tuple[Scene, list[Sentence]]]:
    return [make_scene(5, f"clip_{i}") for i in range(40)]


def test_every_sentence_read_again_means_exactly_its_objects() -> None:
    for its_scene, sentences in clips():
        judge = Judge(its_scene)
        assert 4 <= len(sentences) <= 7 and len({s.text for s in sentences}) == len(sentences)
        for sentence in sentences:
            texts = [sentence.text]
            if len(sentence.parts) == 2:
                texts = next(
                    [" and ".join(halves[:i]), " and ".join(halves[i:])]
                    for halves in [sentence.text.split(" and ")]
                    for i in range(1, len(halves))
                    if read(" and ".join(halves[:i])) and read(" and ".join(halves[i:]))
                )
            meant: set[int] = set()
            for text, part in zip(texts, sentence.parts, strict=True):
                ((description, number),) = read(text)  # one reading, and one alone
                assert description == part
                referred = judge.referred(description)
                assert referred is not None
                if number is not None and referred:
                    assert number == len(referred)
                meant |= set(referred)
            assert tuple(sorted(meant)) == sentence.referred


def test_kinds_say_what_sentences_are() -> None:
    for _, sentences in clips():
        for s in sentences:
            expected = "none" if not s.referred else "several" if len(s.referred) > 1 else kind_of(s.parts[0].clause)
            assert s.kind == expected and s.motion == any(needs_motion(part.clause) for part in s.parts)


def test_motion_is_needed_and_every_kind_is_there() -> None:
    sentences = [(its_scene, s) for its_scene, all_of in clips() for s in all_of]
    shares = Counter(s.kind for _, s in sentences)
    assert set(shares) == set(KINDS) and shares["none"] < 0.25 * len(sentences)
    targeted = [(its_scene, s) for its_scene, s in sentences if s.referred]
    assert np.mean([s.motion for _, s in targeted]) > 0.5

    def excludes_a_double(its_scene: Scene, s: Sentence) -> bool:
        meant = {its_scene.things[i].looks for i in s.referred}
        return s.motion and any(t.looks in meant for i, t in enumerate(its_scene.things) if i not in s.referred)

    assert np.mean([excludes_a_double(*one) for one in targeted]) > 0.3


def test_objects_are_out_of_sight_for_a_time() -> None:
    found = [f for its_scene, _ in clips() for f in facts_of(its_scene).objects]
    assert np.mean([f.gone_T.any() for f in found]) > 0.1
    assert np.mean([((f.coverage_T > 0.9) & (f.sight_T == 0)).any() for f in found]) > 0.02
    assert np.mean([(f.sight_T > 0.3).sum() >= 4 for f in found]) > 0.98


def test_the_sentences_are_pinned() -> None:
    """More of them than the digests of the written files cover; see there for what a change asks for."""
    said = [[s.text, [*s.referred], s.kind, s.motion] for _, sentences in clips() for s in sentences]
    assert digest(said) == "e327942da4fcf81c"
