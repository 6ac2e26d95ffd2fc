"""A selector: the mean token of a track, mapped to the words' width, against the mean word.

Legend: B samples, V scenes, N tracks, T frames, C channels, D text width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import nn

from stages.core.config.section import PositiveFloat, Section
from stages.core.config.selector_sections import Selector
from stages.core.tables import SelectorKind
from stages.selectors.batch import Batch
from stages.selectors.losses import weighted_bce
from stages.selectors.network import Losses, Network, Output


class LinearModel(Section):
    bias: bool = Field(True, description="Whether the map has a bias")


class LinearSettings(LinearModel):
    learning_rate: PositiveFloat = Field(1e-2, description="Of AdamW")


class Linear(Network):
    def __init__(self, token_dim: int, text_dim: int, model: LinearModel) -> None:
        super().__init__()
        self.map = nn.Linear(token_dim, text_dim, bias=model.bias)

    def forward(self, batch: Batch) -> Output:
        real_MT1 = (torch.arange(batch.tokens_MTC.shape[1]) < batch.frames_M[:, None])[..., None]
        mean_MC = (batch.tokens_MTC * real_MT1).sum(1) / batch.frames_M[:, None]
        pooled_BND = batch.scenes_of(self.map(mean_MC))[batch.scene_B]
        logits_BN = torch.einsum("bnd,bd->bn", pooled_BND, batch.mean_BD) * batch.track_mask_BN
        return Output(logits_BN, pooled_BND)

    def loss_weights(self, config: Selector) -> Mapping[str, float]:
        return {"bce": 1.0}

    def losses(self, output: Output, batch: Batch, config: Selector) -> Losses:
        bce_B = weighted_bce(output.logits_BN, batch, config.training.positive_weight)
        return Losses({"bce": bce_B}, self.loss_weights(config))


def build(token_dim: int, text_dim: int, model: LinearModel, tda: Any, inputs: Sequence[str]) -> Linear:
    return Linear(token_dim, text_dim, model)


KIND = SelectorKind(name="linear", network=LinearModel, settings=LinearSettings, build=build)
