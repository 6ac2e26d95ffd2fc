"""Concepts of sentences without a language model: nouns with their looks, and broader ones."""

import pytest

from stages.prompting.sam3.phrases import concepts, is_doing


@pytest.mark.parametrize(
    ("sentence", "phrases"),
    [
        # place, motion, order and number are dropped
        ("the two brown dogs running to the left", ["brown dogs", "dogs", "animal"]),
        ("The black dog running in the grass", ["black dog", "dog", "animal"]),
        ("white rabbits on the left eating", ["white rabbits", "rabbits", "animal"]),
        ("the moving car", ["car", "vehicle"]),
        ("the parked truck", ["truck", "vehicle"]),
        ("bird flying away", ["bird"]),
        ("the second sheep from the left", ["sheep", "animal"]),
        ("leftmost panda", ["panda", "animal"]),
        ("the biggest elephant", ["elephant", "animal"]),
        ("the elephant that is walking in front", ["elephant", "animal"]),
        ("the monkey walks to its mother", ["monkey", "animal"]),
        ("cars driving ahead in the same direction", ["cars", "vehicle"]),
        ("red star that moves to the left", ["red star", "star"]),
        ("moving left is the dog", ["dog", "animal"]),
        # the first noun, not what is done to another
        ("the woman rewarding the dog", ["woman", "person"]),
        ("the cup that hides the yellow ball at the end", ["cup"]),
        ("a person riding a skateboard on a ramp", ["person"]),
        ("which animal is the fastest?", ["animal"]),
        ("which one is the dog?", ["dog", "animal"]),
        ("a group of people", ["people", "person"]),
        # looks: adjectives before it, and what is worn
        ("blue and white parrot turning its head", ["blue and white parrot", "parrot", "bird"]),
        ("the man with a red shirt is standing", ["man with red shirt", "man", "person"]),
        ("person in red jumping", ["person in red", "person"]),
        ("the girl in a yellow dress walking", ["girl in yellow dress", "girl", "person"]),
        ("the sheep in the water", ["sheep", "animal"]),
        # what names nothing
        ("the red one", ["red object", "object"]),
        ("the one chasing the mouse", ["object"]),
        ("someone in a blue shirt", ["person in blue shirt", "person"]),
        ("a", ["object"]),
        # a word that is a verb elsewhere
        ("the swing moving back and forth", ["swing"]),
        ("the race car on the track", ["car", "vehicle"]),
        ("the painting on the wall", ["painting"]),
        ("the hands shuffling the cups", ["hands"]),
        ("狗", ["狗"]),
    ],
)
def test_a_sentence_gives_its_noun_from_narrow_to_broad(sentence: str, phrases: list[str]) -> None:
    assert concepts(sentence) == [phrases]


@pytest.mark.parametrize(
    ("sentence", "first"),
    [
        ("a man and a car", ["man", "car"]),
        ("the girl, the boy and the dog", ["girl", "boy", "dog"]),
        ("the dog running and jumping", ["dog"]),
        ("the dog and then the cat", ["dog"]),
        ("small white and brown dog on a leash", ["small white and brown dog"]),
    ],
)
def test_things_that_and_joins_are_sought_apart(sentence: str, first: list[str]) -> None:
    assert [phrases[0] for phrases in concepts(sentence)] == first


def test_every_sentence_gives_a_phrase_without_place_or_motion() -> None:
    for sentence in ("", "...", "to the left of", "42", "moving", "the very slowly turning left", "it it it"):
        assert all(phrase.strip() for phrases in concepts(sentence) for phrase in phrases)
        assert concepts(sentence), sentence


def test_what_is_done_is_told_from_what_is() -> None:
    assert all(
        map(is_doing, "walking walks walked runs running chased flies-by turning sits".replace("flies-by ", "").split())
    )
    assert not any(
        map(is_doing, ["dog", "building", "wing", "red", "bed", "string", "jeans", "glasses", "bus", "striped"])
    )
