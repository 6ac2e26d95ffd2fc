"""The training of the embedded MLLM: its stages, its loss, and how it is stored.

Legend: R questions, L tokens, V cards, W words of texts, D channels.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from stages.core.state.cache import atomic_path
from stages.micro.mllm import TRAINED, make_mllm
from stages.micro.training.mllm import packing, vision
from stages.micro.training.mllm.ahead import Ahead
from stages.micro.training.mllm.batches import Batches, Looks, Questions
from stages.micro.training.mllm.initialise import prepare
from stages.micro.training.mllm.packing import hidden_states
from stages.micro.training.mllm.recipe import Recipe
from stages.micro.training.mllm.tracked import Tracked
from stages.micro.training.mllm.vision import LooksPool, TruthHead, features_of, looks_loss
from stages.micro.training.sentences import ASPECT_WORDS
from stages.training.clock import Clock, Length
from stages.training.descent import Descent

ENDLESS = Length(minutes=float("inf"))


class MllmTraining(Descent):
    """A Qwen3-VL that judges candidates by their card and facts.

    Args:
        folder: where scenes are kept; None = a folder that goes with the process.
        tracks: tracks of SAM2 to train on beside generated scenes; None = none.
        length: of the training, and workers: processes that make scenes and batches ahead; see `Ahead`.
        device: "cpu" or "cuda".
    """

    recipe: Recipe
    log_every = 25

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        folder: Path | None = None,
        tracks: Tracked | None = None,
        *,
        length: Length = ENDLESS,
        workers: int = 0,
        device: str = "cpu",
    ) -> None:
        model, self.processor = _untrained(seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.heads = LooksPool(TRAINED.hidden, len(ASPECT_WORDS) - 1)
            torch.default_generator.manual_seed(seed + 1)
            self.truth = TruthHead(TRAINED.hidden)
        modules = {"model": model, "heads": self.heads, "truth": self.truth}
        for module in modules.values():
            module.to(device)
        optimiser = torch.optim.AdamW(
            _groups(list(modules.values()), recipe.weight_decay), recipe.learning_rate, recipe.betas, fused=True
        )
        super().__init__(recipe, seed, modules, optimiser, recipe.ema_decay)
        self.temporary = tempfile.TemporaryDirectory() if folder is None else None
        root = Path(self.temporary.name) if self.temporary else folder
        assert root is not None
        self.device, self.given = device, tracks
        self.batches = Batches(recipe, seed, root, tracks)
        self.ahead = Ahead(self.batches, length, workers)
        words = self.batches.words
        self.yes, self.no = words.token("yes"), words.token("no")
        aspects = list(ASPECT_WORDS.values())[1:]
        self.looks_words = [torch.tensor([words.token(f" {word}") for word in of], device=device) for of in aspects]

    def identity(self) -> Mapping[str, Any]:
        tracks = {} if self.given is None else {"tracks": self.given.identity()}
        return {**super().identity(), **tracks}

    def loss(self, clock: Clock, progress: float) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Of single cards at first, then of a batch of packed questions."""
        batch = self.ahead(clock.step, progress).to(self.device)
        return self._looks(batch) if isinstance(batch, Looks) else self._answers(batch)

    def _looks(self, batch: Looks) -> tuple[Tensor, dict[str, Tensor]]:
        features = features_of(self.model, batch.patches_NC)
        vectors = self.model.model.language_model.embed_tokens.weight
        words = [vectors[ids] for ids in self.looks_words]
        logits = self.heads(features.view(len(batch.looks_V4), packing.IMAGE_TOKENS, -1), words)
        loss, right = looks_loss(logits, batch.looks_V4)
        return loss, {"vision.loss": loss.detach(), **{f"vision.{name}": value for name, value in right.items()}}

    def _answers(self, batch: Questions) -> tuple[Tensor, dict[str, Tensor]]:
        packed, recipe = batch.packed, self.recipe
        states_LD = hidden_states(self.model, packed, features_of(self.model, batch.patches_NC))
        logits_RV = self.model.lm_head(states_LD[packed.answer_R])
        answer = functional.cross_entropy(logits_RV, batch.right_R)
        wording = self._wording(batch, states_LD)
        truth_W = self.truth(states_LD[batch.judged_W])[:, 0]
        judged = functional.binary_cross_entropy_with_logits(truth_W, batch.truth_W)
        odds_R = logits_RV[:, self.yes] - logits_RV[:, self.no]
        hit = ((odds_R > 0) == (batch.right_R == self.yes)).float().mean()
        tokens = torch.tensor(float(len(packed.ids_L)))
        values = {"answer": answer, "wording": wording, "judged": judged, "right": hit, "tokens": tokens}
        late = batch.stage == "all"
        loss = answer + (recipe.wording if late else recipe.early_wording) * wording
        loss = loss + (recipe.judged if late else recipe.early_judged) * judged
        return loss, {f"{batch.stage}.{name}": value.detach() for name, value in values.items()}

    def _wording(self, batch: Questions, states_LD: Tensor) -> Tensor:
        """How well the words of true texts are foreseen."""
        at_W = batch.foreseen_W
        if not len(at_W):
            return states_LD.sum() * 0
        return functional.cross_entropy(self.model.lm_head(states_LD[at_W]), batch.packed.ids_L[at_W + 1])


def _untrained(seed: int) -> tuple[Any, Any]:
    """The model at its start, with the attentions of packed rows and equal cards, and its processor."""
    model, processor = make_mllm(TRAINED, seed)
    prepare(model, processor.tokenizer)
    packing.register()
    vision.register()
    model.model.language_model.config._attn_implementation = packing.NAME
    model.model.visual.config._attn_implementation = vision.NAME
    return model, processor


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
        save_file(
            {name: tensor.half().cpu().contiguous() for name, tensor in state.items()}, temporary, {"format": "pt"}
        )
