"""An architecture with its settings: what a selector's file records, and how the network is built."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from stages.core.config.section import Section
from stages.core.config.sections import Selector, Tda
from stages.core.tables import SELECTORS
from stages.selectors.network import Network


@dataclass(frozen=True)
class Architecture:
    """Everything that determines a network's shape and arithmetic, except the widths of its inputs."""

    name: str
    model: Section
    tda: Tda

    @classmethod
    def of(cls, config: Selector) -> "Architecture":
        return cls(config.name, SELECTORS[config.name].network_of(config.own), config.tda)

    @classmethod
    def parse(cls, name: str, model: Mapping[str, Any], tda: Mapping[str, Any]) -> "Architecture":
        """
        Raises:
            ValueError: no such architecture, or settings that are not its own.
        """
        return cls(name, SELECTORS[name].network.model_validate(model), Tda.model_validate(tda))

    def build(self, token_dim: int, text_dim: int, seed: int | None = None) -> Network:
        """A new network; the same seed gives the same weights."""
        if seed is not None:
            torch.manual_seed(seed)
        network: Network = SELECTORS[self.name].build(token_dim, text_dim, self.model, self.tda)
        return network
