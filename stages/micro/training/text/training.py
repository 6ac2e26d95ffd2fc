"""The training of the micro text encoder: mean word vectors against encoded states, InfoNCE both ways.

InfoNCE: van den Oord et al., arXiv 1807.03748. Legend: B sentences, W words, D channels, K features of a state.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from stages.core.state.cache import atomic_path
from stages.micro.text import make_text
from stages.micro.training.text.recipe import Recipe
from stages.micro.training.text.states import WIDTH, encode_state, family
from stages.training.clock import Clock
from stages.training.descent import Descent


class StateEncoder(nn.Module):
    """Maps states and mean word vectors into one space; discarded after training."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.parts = nn.Sequential(nn.Linear(WIDTH, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.text = nn.Linear(hidden, width)

    def forward(self, states_B2K: torch.Tensor) -> torch.Tensor:
        """Parts are summed: "one and the other" is "the other and one"."""
        said_B21 = states_B2K.any(2, keepdim=True)
        encoded_BD: torch.Tensor = (self.parts(states_B2K) * said_B21).sum(1)
        return encoded_BD


class TextTraining(Descent):
    """The text encoder against what sentences say."""

    recipe: Recipe
    log_every = 50

    def __init__(self, recipe: Recipe, seed: int) -> None:
        model, self.tokenizer = make_text(seed)
        torch.default_generator.manual_seed(seed)
        self.states = StateEncoder(model.config.hidden_size, recipe.state_width)
        parameters = [*model.parameters(), *self.states.parameters()]
        optimiser = torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)
        super().__init__(recipe, seed, {"model": model, "states": self.states}, optimiser)

    def loss(self, clock: Clock, progress: float) -> tuple[torch.Tensor, Mapping[str, float]]:
        """The loss of one batch of families of sentences."""
        recipe = self.recipe
        rng = np.random.default_rng([self.seed, 0, clock.step])
        sentences = [sentence for _ in range(recipe.batch) for sentence in family(rng, recipe.family)]
        states_B2K = torch.from_numpy(np.stack([encode_state(sentence) for sentence in sentences]))
        mean_BD = mean_words(self.model, self.tokenizer, [s.text for s in sentences])
        logits_BB = _similarity(self.states.text(mean_BD), self.states(states_B2K)) / recipe.temperature
        loss, accuracy = _contrast(logits_BB, states_B2K)
        return loss, {"loss": float(loss.detach()), "accuracy": accuracy}


def mean_words(model: Any, tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """(B, D) means of the last hidden states, special tokens included, as `encode_text` stores them."""
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    hidden_BWD = model(**batch).last_hidden_state
    mask_BW1 = batch["attention_mask"][..., None].float()
    mean_BD: torch.Tensor = (hidden_BWD * mask_BW1).sum(1) / mask_BW1.sum(1)
    return mean_BD


def _similarity(a_BD: torch.Tensor, b_BD: torch.Tensor) -> torch.Tensor:
    return functional.normalize(a_BD, dim=1) @ functional.normalize(b_BD, dim=1).T


def _contrast(logits_BB: torch.Tensor, states_B2K: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Sentences that say the same share the probability."""
    flat_BK = states_B2K.flatten(1)
    shared_BB, count_B = flat_BK @ flat_BK.T, flat_BK.sum(1)
    same_BB = (shared_BB == count_B[:, None]) & (shared_BB == count_B[None])
    losses = [
        (logits.logsumexp(1) - logits.masked_fill(~same_BB, float("-inf")).logsumexp(1)).mean()
        for logits in (logits_BB, logits_BB.T)
    ]
    hit_B = same_BB[torch.arange(len(same_BB)), logits_BB.argmax(1)]
    return torch.stack(losses).mean(), float(hit_B.float().mean())


def save_model(training: TextTraining, folder: Path) -> None:
    """A folder of transformers: config, tokenizer, and float16 safetensors, which load as float32."""
    training.model.config.save_pretrained(folder)
    training.tokenizer.save_pretrained(folder)
    with atomic_path(folder / "model.safetensors") as temporary:
        tensors = {name: tensor.half().contiguous() for name, tensor in training.model.state_dict().items()}
        save_file(tensors, temporary, {"format": "pt"})
