"""How many objects a sentence asks for."""

import json

import numpy as np
import pytest
from support.project import CLIPS

from stages.evidence.fusion.number import number_of, says_looks_alone
from stages.worlds.shapes.grammar import sample_sentences
from stages.worlds.shapes.sample import sample_scene

# Sentences of the real clips; None = a plural, which says only that there are several.
OF_CLIPS = {
    "the dog": 1,
    "the woman rewarding the dog": 1,
    "the dog that turns around by itself": 1,
    "a cat climbing a tree": 1,
    "the cup that hides the yellow ball at the end": 1,
    "the red cups on the table": None,
    "the hands shuffling the cups": None,
    "the yellow ball": 1,
    "the man keeping the ball in the air": 1,
    "the ball that bounces on his foot": 1,
    "a bicycle leaning on the tree": 1,
    "the white car overtaking on the left": 1,
    "cars driving ahead in the same direction": None,
    "the girl jumping on the bed": 1,
    "the boy who leaves and comes back": 1,
    "the two children": 2,
}
OTHERS = {
    "3 rabbits": 3,
    "Two cows are grazing": 2,
    "both of them": 2,
    "a pair of shoes": 2,
    "one of the dogs": 1,
    "the last of the three dogs": 1,
    "the first two cars": 2,
    "the 2 on the left": 2,
    "the other one": 1,
    "a man and a woman dancing": 2,
    "the two men and the dog": 3,
    "the dogs and the cat": None,
    "a cat and dog playing": None,
    "the big and fat cat": 1,
    "the player number 7": 1,
    "white and black dog": 1,
    "the square going out and coming in again": 1,
    "panda turning its body around": 1,
    "the cross": 1,
    "the people who are running": None,
    "elephants walking": None,
    "the big running dogs": None,
    "a sheep": 1,
    "the sheep that is eating": 1,
    "the sheep": None,
    "all dogs": None,
    "a group of men": None,
    "moving to the left": None,
    "the player with number 7": 1,
    "le chien rouge": None,
    "两只狗": None,
    "": None,
    "???": None,
}


@pytest.mark.parametrize(("text", "number"), [*OF_CLIPS.items(), *OTHERS.items()])
def test_number_words_articles_and_plurals(text, number):
    assert number_of(text) == number


def test_the_sentences_of_the_clips_are_those_above():
    if not CLIPS.is_dir():
        pytest.skip("the real clips are not here")
    sentences = json.loads((CLIPS / "expressions.json").read_text(encoding="utf-8"))
    assert {text for texts in sentences.values() for text in texts} == OF_CLIPS.keys()


def test_every_sentence_of_shapes_says_how_many_it_means():
    rng, n = np.random.default_rng(0), 0
    for _ in range(40):
        for sentence in sample_sentences(rng, sample_scene(rng, 16, (128, 128))):
            n += 1
            assert not sentence.referred or number_of(sentence.text) == len(sentence.referred), sentence.text
    assert n > 150


@pytest.mark.parametrize(
    "text",
    [
        "the red car",
        "a white dog",
        "the two little triangles",
        "two men and the dog",
        "the square",
        "black dog and a cat",
    ],
)
def test_noun_phrases_say_looks_alone(text):
    assert says_looks_alone(text)


@pytest.mark.parametrize(
    "text",
    [
        "the red car turning left",
        "the dog that sleeps",
        "the bird on the left",
        "the two dogs and the cat that runs",
        "moving to the left",
        "the square is red",
        "le chien rouge",
        "",
    ],
)
def test_verbs_places_and_clauses_say_more(text):
    assert not says_looks_alone(text)
