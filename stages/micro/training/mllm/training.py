"""The training of the embedded MLLM: its stages, its loss, and how it is stored.

Legend: R questions, L tokens, V cards.
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from stages.core.state.cache import atomic_path
from stages.micro.mllm import TRAINED, make_mllm
from stages.micro.training.mllm import packing
from stages.micro.training.mllm.draws import Draws
from stages.micro.training.mllm.generate import endless_record
from stages.micro.training.mllm.initialise import prepare
from stages.micro.training.mllm.items import Items
from stages.micro.training.mllm.losses import judged_loss, wording_loss
from stages.micro.training.mllm.packing import Words, hidden_states
from stages.micro.training.mllm.recipe import Recipe
from stages.micro.training.mllm.records import UNKNOWN
from stages.micro.training.mllm.scenes import Scenes
from stages.micro.training.mllm.tracked import Tracked
from stages.micro.training.mllm.vision import LooksPool, TruthHead, features_of, looks_loss
from stages.micro.training.sentences import ASPECT_WORDS
from stages.training.clock import Clock
from stages.training.descent import Descent


class MllmTraining(Descent):
    """A Qwen3-VL that judges candidates by their card and facts.

    Args:
        folder: where scenes are kept; None = a folder that goes with the process.
        tracks: tracks of SAM2 to train on beside generated scenes; None = none.
        ahead: whether other processes make scenes before they are needed; they are the same.
    """

    recipe: Recipe
    log_every = 25

    def __init__(
        self, recipe: Recipe, seed: int, folder: Path | None = None, tracks: Tracked | None = None, ahead: bool = False
    ) -> None:
        packing.register()
        model, self.processor = make_mllm(TRAINED, seed)
        prepare(model, self.processor.tokenizer)
        model.model.language_model.config._attn_implementation = packing.NAME
        self.words = Words(self.processor.tokenizer)
        self.yes, self.no = self.words.token("yes"), self.words.token("no")
        self.looks_words = [[self.words.token(f" {word}") for word in of] for of in list(ASPECT_WORDS.values())[1:]]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            heads = LooksPool(TRAINED.hidden, len(ASPECT_WORDS) - 1)
        self.temporary = tempfile.TemporaryDirectory() if folder is None else None
        root = Path(self.temporary.name) if self.temporary else folder
        assert root is not None
        self.ahead, self.given = ahead, tracks
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed + 1)
            self.truth = TruthHead(TRAINED.hidden)
        scenes = Scenes(root / "scenes", partial(endless_record, seed))
        kept = None if tracks is None else Scenes(root / "tracks", tracks, len(tracks))
        self.draws = Draws(recipe, scenes, kept)
        optimiser = torch.optim.AdamW(
            _groups([model, heads, self.truth], recipe.weight_decay), recipe.learning_rate, recipe.betas, fused=True
        )
        super().__init__(
            recipe, seed, {"model": model, "heads": heads, "truth": self.truth}, optimiser, recipe.ema_decay
        )
        self.heads = heads

    def identity(self) -> Mapping[str, Any]:
        tracks = {} if self.given is None else {"tracks": self.given.identity()}
        return {**super().identity(), **tracks}

    def loss(self, clock: Clock, progress: float) -> tuple[Tensor, Mapping[str, float]]:
        """Of single cards at first, then of a batch of packed questions."""
        rng = np.random.default_rng([self.seed, 0, clock.step])
        if self.ahead:
            self.draws.look_ahead(clock.step, progress)
        stage = self.recipe.stage(progress)
        if stage == "vision":
            return self._looks(rng, clock.step)
        return self._answers(self.draws.batch(rng, clock.step, progress, stage), stage)

    def _looks(self, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        cards = [
            (card_SS3, looks_4)
            for record in self.draws.window(step)
            for card_SS3, looks_4 in zip(record.cards_NSS3, record.looks_N4)
            if looks_4[1] != UNKNOWN
        ]
        chosen = [cards[i] for i in rng.choice(len(cards), min(self.recipe.cards, len(cards)), replace=False)]
        features = features_of(self.model, np.stack([card for card, _ in chosen]))
        vectors = self.model.model.language_model.embed_tokens.weight
        words = [vectors[ids] for ids in self.looks_words]
        logits = self.heads(features.view(len(chosen), packing.IMAGE_TOKENS, -1), words)
        looks_V4 = torch.from_numpy(np.stack([looks for _, looks in chosen]).astype(np.int64))
        loss, right = looks_loss(logits, looks_V4)
        return loss, {"vision.loss": float(loss.detach()), **{f"vision.{name}": value for name, value in right.items()}}

    def _answers(self, items: Items, stage: str) -> tuple[Tensor, dict[str, float]]:
        packed, true_R, for_R = items.pack(self.words)
        states_LD = hidden_states(self.model, packed, features_of(self.model, items.shown))
        logits_RV = self.model.lm_head(states_LD[packed.answer_R])
        right_R = torch.where(true_R == for_R, self.yes, self.no)
        answer = functional.cross_entropy(logits_RV, right_R)
        wording = wording_loss(self.model.lm_head, packed, states_LD, true_R & for_R)
        judged = judged_loss(self.truth, packed, states_LD, items.texts)
        odds_R = logits_RV[:, self.yes] - logits_RV[:, self.no]
        hit = ((odds_R > 0) == (right_R == self.yes)).float().mean()
        values = {
            "answer": answer,
            "wording": wording,
            "judged": judged,
            "right": hit,
            "tokens": torch.tensor(float(len(packed.ids_L))),
        }
        recipe = self.recipe
        late = stage == "all"
        loss = answer + (recipe.wording if late else recipe.early_wording) * wording
        loss = loss + (recipe.judged if late else recipe.early_judged) * judged
        return loss, {f"{stage}.{name}": float(value.detach()) for name, value in values.items()}


def _groups(modules: Sequence[Any], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; words, gains and offsets do not."""
    named = [(name, parameter) for module in modules for name, parameter in module.named_parameters()]
    decayed = [p for name, p in named if p.ndim > 1 and "embed" not in name]
    others = [p for name, p in named if not (p.ndim > 1 and "embed" not in name)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def save_model(model: Any, processor: Any, folder: Path) -> None:
    """A folder of transformers: config, processor, and float16 safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    processor.save_pretrained(folder)
    state = model.state_dict()
    state.pop("lm_head.weight", None)  # tied to the words
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file({name: tensor.half().contiguous() for name, tensor in state.items()}, temporary, {"format": "pt"})
