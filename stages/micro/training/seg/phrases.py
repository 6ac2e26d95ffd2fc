"""Which sentences a step asks about a scene.

Legend: O objects.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.micro.training.seg.recipe import Recipe
from stages.micro.training.seg.scenes import UNKNOWN, Said, Scene
from stages.micro.training.sentences import ASPECT_WORDS, fewer_words, put_in_words
from stages.worlds.shapes.meaning import Description, Looks
from stages.worlds.shapes.scene import Generator

MOST = 4  # objects that a noun phrase names at once
SINGLE, TRIES = 0.7, 6  # share of noun phrases that are to fit one object, and how often words are drawn for that


def noun_phrases(rng: Generator, scene: Scene, seen: Sequence[int], count: int) -> list[Said]:
    """Noun phrases about objects that are seen; each refers to all objects of the scene that it fits, most to one.

    What fits most of a scene is learnt by finding everything, without a look at the words.
    """
    phrases = []
    for _ in range(count):
        for _ in range(TRIES if rng.random() < SINGLE else 1):
            looks = fewer_words(rng, looks_of(scene.looks_O4[int(rng.choice(np.asarray(seen)))]))
            fitting = tuple(o for o, own_4 in enumerate(scene.looks_O4) if fits(own_4, looks))
            if len(fitting) == 1:
                break
        worded = put_in_words(rng, (Description(looks),), min(len(fitting), MOST))
        phrases.append(Said(worded.text, fitting, "appearance", False))
    return phrases


def looks_of(indices_4: NDArray[np.int64]) -> Looks:
    """In words; without what is unknown."""
    known = zip(ASPECT_WORDS.items(), indices_4.tolist(), strict=True)
    return Looks(**{aspect: words[i] for (aspect, words), i in known if i != UNKNOWN})


def fits(own_4: NDArray[np.int64], looks: Looks) -> bool:
    """Whether an object has all that is said; what is unknown of it may be anything."""
    own = looks_of(own_4)
    said = {aspect: getattr(looks, aspect) for aspect in ASPECT_WORDS}
    return all(word is None or getattr(own, aspect) in (None, word) for aspect, word in said.items())


def asked(rng: Generator, scene: Scene, seen: Sequence[int], count: int, recipe: Recipe) -> list[Said]:
    """Of the last stage: sentences, statements and noun phrases; not all of a scene's, and some twice where it has few."""
    n_nouns, n_statements = rng.multinomial(
        count, [recipe.nouns, recipe.statements, 1 - recipe.nouns - recipe.statements]
    )[:2]
    chosen = noun_phrases(rng, scene, seen, int(n_nouns))
    for statement, n in ((True, int(n_statements)), (False, count - int(n_nouns) - int(n_statements))):
        pool = [one for one in scene.said if one.statement == statement]
        if pool:
            order = rng.permutation(len(pool))
            chosen += [pool[order[i % len(pool)]] for i in range(n)]
    return chosen + noun_phrases(rng, scene, seen, count - len(chosen))
