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
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from stages.core.state.cache import atomic_path
from stages.evidence.questions import Parts
from stages.evidence.views.compose import joined
from stages.micro.mllm import TRAINED, make_mllm
from stages.micro.training.mllm import packing
from stages.micro.training.mllm.generate import endless_record
from stages.micro.training.mllm.initialise import prepare
from stages.micro.training.mllm.packing import TEMPLATES, Words, hidden_states, pack, piece_of
from stages.micro.training.mllm.questions import Asked, about_candidate, all_looks, noun_phrase, place_or_way
from stages.micro.training.mllm.recipe import MIXES, Recipe
from stages.micro.training.mllm.records import UNKNOWN, Record
from stages.micro.training.mllm.scenes import Scenes
from stages.micro.training.mllm.tracked import Tracked
from stages.micro.training.mllm.vision import LooksPool, TruthHead, features_of, looks_loss
from stages.micro.training.sentences import ASPECT_WORDS
from stages.training.clock import Clock
from stages.training.descent import Descent

Cards = NDArray[np.uint8]  # (V, S, S, 3)
JUNK_WEIGHT = 0.35  # of a candidate without an object, when some are chosen to be asked about


class MllmTraining(Descent):
    """A Qwen3-VL that judges candidates by their card and facts.

    Args:
        folder: where scenes are kept; None = a folder that goes with the process.
        tracks: tracks of SAM2 to train on beside generated scenes; None = none.
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
        self.scenes = Scenes(root / "scenes", partial(endless_record, seed))
        self.ahead, self.given = ahead, tracks
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed + 1)
            self.truth = TruthHead(TRAINED.hidden)
        self.tracks = None if tracks is None else Scenes(root / "tracks", tracks, len(tracks))
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
        self._look_ahead(clock.step, progress)
        stage = self.recipe.stage(progress)
        if stage == "vision":
            return self._looks(rng, clock.step)
        return self._answers(*self._batch(rng, clock.step, progress, stage), stage)

    def _look_ahead(self, step: int, progress: float) -> None:
        """Lets other processes make the next scenes."""
        recipe = self.recipe
        if self.ahead:
            self.scenes.want(int(step * recipe.fresh) + recipe.window)
            if self.tracks is not None and progress >= recipe.tracks_from - 0.1:
                self.tracks.want(int(step * recipe.fresh_tracks) + recipe.window)

    def _window(self, step: int) -> list[Record]:
        first = int(step * self.recipe.fresh)
        return [self.scenes[first + i] for i in range(self.recipe.window)]

    def _looks(self, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        cards = [
            (card_SS3, looks_4)
            for record in self._window(step)
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

    def _batch(self, rng: np.random.Generator, step: int, progress: float, stage: str) -> "tuple[Items, list[Cards]]":
        """The items of a step, and the cards that they show."""
        recipe = self.recipe
        if stage != "all":
            return self._alone(rng, step, progress, stage)
        views = MIXES[int(rng.choice(len(MIXES), p=recipe.mixes))]
        records = self._alike(rng, step, progress)
        count = min(recipe.candidates, *(len(record) for record in records))
        nouns, statements = recipe.shares(progress)
        longest = int(rng.choice(recipe.longest, p=recipe.longest_shares))
        items, cards = Items(rng, recipe.against_share(progress)), []
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
            items.add(composition.context, abouts, asked)
            cards.append(record.cards_NSS3)
        return items, cards

    def _alone(self, rng: np.random.Generator, step: int, progress: float, stage: str) -> "tuple[Items, list[Cards]]":
        """Candidates on their own, by their cards."""
        recipe = self.recipe
        window = self._window(step)
        items, cards = Items(rng, recipe.against_share(progress)), []
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
            items.add(composition.context, [(composition.about(0), record.first)], [asked])
            cards.append(record.cards_NSS3)
        return items, cards

    def _alike(self, rng: np.random.Generator, step: int, progress: float) -> list[Record]:
        """Videos with about equally many candidates, two at least."""
        recipe = self.recipe
        if self.tracks is not None and progress >= recipe.tracks_from and rng.random() < 0.5:
            start, total = int(step * recipe.fresh_tracks), self.tracks.total
            assert total is not None
            pool = [self.tracks[(start + i) % total] for i in range(min(recipe.window, total))]
        else:
            pool = self._window(step)
        pool = sorted((record for record in pool if len(record) > 1), key=len)
        first = int(rng.integers(len(pool) - recipe.clips + 1))
        return pool[first : first + recipe.clips]

    def _answers(
        self,
        items: "Items",
        cards: list[Cards],
        stage: str,
    ) -> tuple[Tensor, dict[str, float]]:
        packed, true_R, for_R = items.pack(self.words, cards)
        shown = np.concatenate(cards) if items.shows else cards[0][:1]
        states_LD = hidden_states(self.model, packed, features_of(self.model, shown))
        logits_RV = self.model.lm_head(states_LD[packed.answer_R])
        right_R = torch.where(true_R == for_R, self.yes, self.no)
        answer = functional.cross_entropy(logits_RV, right_R)
        wording = self._wording(packed, states_LD, true_R & for_R)
        judged = self._judged(packed, states_LD, items)
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

    def _judged(self, packed: packing.Packed, states_LD: Tensor, items: "Items") -> Tensor:
        """How well the last word of each text tells whether it is true, and each word of a noun phrase for itself."""
        places, truths = [], []
        texts = (one for of in items.asked for asked in of for one in asked)
        for one, start, said in zip(texts, packed.start_R.tolist(), packed.said_R.tolist(), strict=True):
            if one.wrong is None:
                places.append(start + said - 1)
                truths.append(float(one.true))
            else:
                places += range(start + 1, start + said)
                truths += [float(i != one.wrong) for i in range(1, said)]
        odds = self.truth(states_LD[torch.tensor(places)])[:, 0]
        return functional.binary_cross_entropy_with_logits(odds, torch.tensor(truths))

    def _wording(self, packed: packing.Packed, states_LD: Tensor, chosen_R: Tensor) -> Tensor:
        """How well the words of true sentences are foreseen."""
        places = [
            torch.arange(int(start), int(start + said) - 1)
            for start, said in zip(packed.start_R[chosen_R], packed.said_R[chosen_R])
        ]
        if not places:
            return states_LD.sum() * 0
        at = torch.cat(places)
        return functional.cross_entropy(self.model.lm_head(states_LD[at]), packed.ids_L[at + 1])


class Items:
    """Contexts with the candidates and questions asked behind them; of a share of the candidates yes speaks against them."""

    def __init__(self, rng: np.random.Generator, against: float = 0.5) -> None:
        self.rng, self.against = rng, against
        self.contexts: list[Parts] = []
        self.abouts: list[Sequence[tuple[Parts, int]]] = []
        self.asked: list[Sequence[Sequence[Asked]]] = []

    def add(self, context: Parts, abouts: Sequence[tuple[Parts, int]], asked: Sequence[Sequence[Asked]]) -> None:
        self.contexts.append(context)
        self.abouts.append(abouts)
        self.asked.append(asked)

    @property
    def shows(self) -> bool:
        return any(not isinstance(part, str) for of in self.abouts for parts, _ in of for part in parts)

    def pack(self, words: Words, cards: list[Cards]) -> "tuple[packing.Packed, Tensor, Tensor]":
        """The row, and for each question whether its text is true and whether yes speaks for it."""
        place_of: dict[int, int] = {}
        start = 0
        for cards_NSS3 in cards:
            place_of |= {card.__array_interface__["data"][0]: start + n for n, card in enumerate(cards_NSS3)}
            start += len(cards_NSS3)
        contexts = [piece_of(words, context, 0, place_of, opening=True) for context in self.contexts]
        abouts, true, speaks_for = [], [], []
        for context, of, asked in zip(contexts, self.abouts, self.asked):
            pieces = []
            for (parts, number), said in zip(of, asked):
                for_it = bool(self.rng.random() >= self.against)
                opening = TEMPLATES[0 if for_it else 1].format(number=number, text="").rstrip()
                pieces.append(piece_of(words, joined((*parts, opening)), context.end, place_of))
                true += [one.true for one in said]
                speaks_for += [for_it] * len(said)
            abouts.append(pieces)
        texts = [[[f" {one.text}" for one in of] for of in asked] for asked in self.asked]
        return pack(words, contexts, abouts, texts), torch.tensor(true), torch.tensor(speaks_for)


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
