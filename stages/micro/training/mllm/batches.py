"""A step's batch, ready for the model: a function of seed, step and progress, so that any process can make it.

Legend: V cards, P patches of a card, C pixels of a patch, R questions, W words.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.micro.mllm import MAX_TOKENS
from stages.micro.tokenizer import qwen_tokenizer
from stages.micro.training.mllm.draws import Draws
from stages.micro.training.mllm.generate import endless_record
from stages.micro.training.mllm.losses import foreseen_words, judged_words
from stages.micro.training.mllm.packing import Packed, Words
from stages.micro.training.mllm.recipe import Recipe
from stages.micro.training.mllm.scenes import Scenes
from stages.micro.training.mllm.tracked import Tracked
from stages.micro.training.mllm.vision import patches_of


@dataclass(frozen=True, eq=False)
class Looks:
    """Single cards and how their candidates look, of the first stage."""

    patches_NC: Tensor  # uint8, N = V · P
    looks_V4: Tensor

    def to(self, device: str) -> "Looks":
        return Looks(self.patches_NC.to(device), self.looks_V4.to(device))


@dataclass(frozen=True, eq=False)
class Questions:
    """A row of packed questions, of the other stages.

    Attributes:
        stage: of the recipe.
        patches_NC: of the cards that it shows, uint8, N = V · P.
        right_R: the token that answers a question.
        judged_W, truth_W: places of the row that tell whether something is true, and whether it is.
        foreseen_W: places after which a word of a true text comes.
    """

    stage: str
    packed: Packed
    patches_NC: Tensor
    right_R: Tensor
    judged_W: Tensor
    truth_W: Tensor
    foreseen_W: Tensor

    def to(self, device: str) -> "Questions":
        rest = (self.patches_NC, self.right_R, self.judged_W, self.truth_W, self.foreseen_W)
        return Questions(self.stage, self.packed.to(device), *(x.to(device) for x in rest))


@dataclass(frozen=True, eq=False)
class Batches:
    """What a training learns from; calling it makes the batch of a step.

    Attributes:
        folder: where scenes are kept.
        tracks: tracks of SAM2 to train on beside generated scenes; None = none.
    """

    recipe: Recipe
    seed: int
    folder: Path
    tracks: Tracked | None

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open everything for themselves."""
        return Batches, (self.recipe, self.seed, self.folder, self.tracks)

    @cached_property
    def draws(self) -> Draws:
        scenes = Scenes(self.folder / "scenes", partial(endless_record, self.seed))
        kept = None if self.tracks is None else Scenes(self.folder / "tracks", self.tracks, len(self.tracks))
        return Draws(self.recipe, scenes, kept)

    @cached_property
    def words(self) -> Words:
        return Words(qwen_tokenizer(MAX_TOKENS))

    def __call__(self, step: int, progress: float) -> Looks | Questions:
        """Of single cards at first, then of packed questions; on the host."""
        rng = np.random.default_rng([self.seed, 0, step])
        stage = self.recipe.stage(progress)
        if stage == "vision":
            cards_VSS3, looks_V4 = self.draws.looks(rng, step)
            return Looks(patches_of(cards_VSS3), torch.from_numpy(looks_V4))
        items = self.draws.batch(rng, step, progress, stage)
        packed, true_R, for_R = items.pack(self.words)
        right_R = torch.where(true_R == for_R, self.words.token("yes"), self.words.token("no"))
        judged_W, truth_W = judged_words(packed, items.texts)
        foreseen_W = foreseen_words(packed, true_R & for_R)
        return Questions(stage, packed, patches_of(items.shown), right_R, judged_W, truth_W, foreseen_W)
