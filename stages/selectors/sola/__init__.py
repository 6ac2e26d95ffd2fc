"""Language-aligned track selection (SOLA, arXiv 2412.01136)."""

from collections.abc import Sequence
from typing import Any

from stages.core.tables import SelectorKind
from stages.selectors.sola.settings import SolaModel, SolaSettings


def _build(token_dim: int, text_dim: int, network: SolaModel, tda: Any, inputs: Sequence[str]) -> Any:
    from stages.selectors.sola.model import Sola

    return Sola(token_dim, text_dim, network, tda, inputs)


KIND = SelectorKind(name="sola", network=SolaModel, settings=SolaSettings, build=_build, inputs=("course", "detector"))
