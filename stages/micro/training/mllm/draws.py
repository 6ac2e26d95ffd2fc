"""What each step draws: videos, candidates, questions; it depends on the step's random numbers and on nothing before it.

Legend: N candidates of a video, V cards, S pixels of a card's side.
"""

import numpy as np
from numpy.typing import NDArray

from stages.micro.training.mllm.items import Items
from stages.micro.training.mllm.questions import about_candidate, all_looks, noun_phrase, place_or_way
from stages.micro.training.mllm.recipe import MIXES, Recipe
from stages.micro.training.mllm.records import UNKNOWN, Record
from stages.micro.training.mllm.scenes import Scenes

JUNK_WEIGHT = 0.35  # of a candidate without an object, when some are chosen to be asked about


class Draws:
    """Draws from endless scenes and, later, from tracks.

    Args:
        tracks: of videos of a cache; None = none.
    """

    def __init__(self, recipe: Recipe, scenes: Scenes, tracks: Scenes | None) -> None:
        self.recipe, self.scenes, self.tracks = recipe, scenes, tracks

    def scenes_of(self, step: int) -> range:
        """The generated scenes in use: they move on by `fresh` a step."""
        first = int(step * self.recipe.fresh)
        return range(first, first + self.recipe.window)

    def tracks_of(self, step: int) -> range:
        """The videos with tracks in use, over and over."""
        assert self.tracks is not None and self.tracks.total is not None
        first = int(step * self.recipe.fresh_tracks)
        return range(first, first + min(self.recipe.window, self.tracks.total))

    def draws_tracks(self, progress: float) -> bool:
        return self.tracks is not None and progress >= self.recipe.tracks_from

    def window(self, step: int) -> list[Record]:
        return [self.scenes[i] for i in self.scenes_of(step)]

    def looks(self, rng: np.random.Generator, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Cards (V, S, S, 3) of candidates, and how these look (V, 4)."""
        cards = [
            (card_SS3, looks_4)
            for record in self.window(step)
            for card_SS3, looks_4 in zip(record.cards_NSS3, record.looks_N4)
            if looks_4[1] != UNKNOWN
        ]
        chosen = [cards[i] for i in rng.choice(len(cards), min(self.recipe.cards, len(cards)), replace=False)]
        return np.stack([card for card, _ in chosen]), np.stack([looks for _, looks in chosen]).astype(np.int64)

    def batch(self, rng: np.random.Generator, step: int, progress: float, stage: str) -> Items:
        """The questions of a step of a stage that asks any."""
        recipe = self.recipe
        if stage != "all":
            return self._alone(rng, step, progress, stage)
        views = MIXES[int(rng.choice(len(MIXES), p=recipe.mixes))]
        records = self._alike(rng, step, progress)
        count = min(recipe.candidates, *(len(record) for record in records))
        nouns, statements = recipe.shares(progress)
        longest = int(rng.choice(recipe.longest, p=recipe.longest_shares))
        items = Items(rng, recipe.against_share(progress))
        for record in records:
            weights_N = np.where(record.looks_N4[:, 1] == UNKNOWN, JUNK_WEIGHT, 1.0)
            chosen = rng.choice(len(record), count, replace=False, p=weights_N / weights_N.sum())
            composition = record.composition(views)
            abouts = [(composition.about(int(n)), record.first + int(n)) for n in chosen]
            asked = [
                about_candidate(
                    rng, record, int(n), recipe.questions, nouns if "card" in views else 0.0, statements, longest
                )
                for n in chosen
            ]
            items.add(composition.context, abouts, asked, record.cards_NSS3)
        return items

    def _alone(self, rng: np.random.Generator, step: int, progress: float, stage: str) -> Items:
        """Candidates on their own, by their cards."""
        recipe = self.recipe
        window = self.window(step)
        items = Items(rng, recipe.against_share(progress))
        for _ in range(recipe.clips * 4):
            record = window[int(rng.integers(len(window)))]
            known = np.flatnonzero(record.looks_N4[:, 1] != UNKNOWN)
            n = int(rng.choice(known)) if len(known) else 0
            composition = record.composition(("card",), [n])
            ways = stage == "moves"
            asked = [
                place_or_way(rng, record, n) if ways and rng.random() < 0.75 else noun_phrase(rng, record.looks_N4[n])
                for _ in range(recipe.questions - 1)
            ]
            asked.append(all_looks(rng, record.looks_N4[n]))
            items.add(composition.context, [(composition.about(0), record.first)], [asked], record.cards_NSS3)
        return items

    def _alike(self, rng: np.random.Generator, step: int, progress: float) -> list[Record]:
        """Videos with about equally many candidates, two at least."""
        recipe = self.recipe
        if self.draws_tracks(progress) and rng.random() < 0.5:
            assert self.tracks is not None
            pool = [self.tracks[i] for i in self.tracks_of(step)]
        else:
            pool = self.window(step)
        pool = sorted((record for record in pool if len(record) > 1), key=len)
        first = int(rng.integers(len(pool) - recipe.clips + 1))
        return pool[first : first + recipe.clips]
