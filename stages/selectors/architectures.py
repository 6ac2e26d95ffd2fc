"""The architectures by name: which section of the config each reads, and how it is built."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from stages.core.config.sections import Section, Selector, SocModel, SolaModel, Tda
from stages.selectors.network import Network
from stages.selectors.soc.model import Soc
from stages.selectors.sola import Sola


@dataclass(frozen=True)
class Architecture:
    """Everything that the shape and the arithmetic of a network depend on, but the widths of its inputs."""

    name: str
    model: Section
    tda: Tda

    @classmethod
    def of(cls, config: Selector) -> "Architecture":
        return cls(config.name, config.sola if config.name == "sola" else config.soc, config.tda)

    @classmethod
    def parse(cls, name: str, model: Mapping[str, Any], tda: Mapping[str, Any]) -> "Architecture":
        """
        Raises:
            ValueError: no such architecture, or settings that are not its own.
        """
        sections: dict[str, type[Section]] = {"sola": SolaModel, "soc": SocModel}
        if name not in sections:
            raise ValueError(f"a selector of architecture {name!r}; this code knows {', '.join(sections)}")
        return cls(name, sections[name].model_validate(model), Tda.model_validate(tda))

    def build(self, token_dim: int, text_dim: int, seed: int | None = None) -> Network:
        """A new network; the same seed gives the same weights."""
        if seed is not None:
            torch.manual_seed(seed)
        if isinstance(self.model, SocModel):
            return Soc(token_dim, text_dim, self.model, self.tda)
        assert isinstance(self.model, SolaModel)
        return Sola(token_dim, text_dim, self.model, self.tda)
