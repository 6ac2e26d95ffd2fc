"""An architecture with its settings: what a selector's file records, and how the network is built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from stages.core.config.section import Section
from stages.core.config.selector_sections import Selector, Tda
from stages.core.tables import SELECTORS
from stages.selectors.network import Network


@dataclass(frozen=True)
class Architecture:
    """Everything that determines a network's shape and arithmetic, except the widths of its inputs.

    Attributes:
        model, tda: the part of its own section that shapes the network, and selector.tda.
        inputs: those of selector.inputs that it takes.
    """

    name: str
    model: Section
    tda: Tda
    inputs: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Selector) -> "Architecture":
        kind = SELECTORS[config.name]
        return cls(config.name, kind.network_of(config.own), config.tda, kind.taken(config.inputs))

    @classmethod
    def parse(
        cls, name: str, model: Mapping[str, Any], tda: Mapping[str, Any], inputs: Sequence[str] = ()
    ) -> "Architecture":
        """
        Raises:
            ValueError: no such architecture, or settings or inputs that are not its own.
        """
        kind = SELECTORS[name]
        if unknown := set(inputs) - set(kind.inputs):
            raise ValueError(
                f"selector {name!r} takes no input {', '.join(map(repr, sorted(unknown)))}; train it again"
            )
        return cls(name, kind.network.model_validate(model), Tda.model_validate(tda), kind.taken(inputs))

    @property
    def needs_detections(self) -> bool:
        """Whether its network reads what a detector said about the tracks."""
        return SELECTORS[self.name].needs_detections(self.model, self.inputs)

    def build(self, token_dim: int, text_dim: int, seed: int | None = None) -> Network:
        """A new network; the same seed gives the same weights."""
        if seed is not None:
            torch.manual_seed(seed)
        network: Network = SELECTORS[self.name].build(token_dim, text_dim, self.model, self.tda, self.inputs)
        network.needs_detections = self.needs_detections
        return network
