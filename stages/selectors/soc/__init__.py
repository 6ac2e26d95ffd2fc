"""Object clustering over tracks, after SOC (arXiv 2305.17011)."""

from collections.abc import Sequence
from typing import Any

from stages.core.tables import SelectorKind
from stages.selectors.soc.settings import SocModel, SocSettings


def _build(token_dim: int, text_dim: int, network: SocModel, tda: Any, inputs: Sequence[str]) -> Any:
    from stages.selectors.soc.model import Soc

    return Soc(token_dim, text_dim, network, tda, inputs)


KIND = SelectorKind(name="soc", network=SocModel, settings=SocSettings, build=_build, inputs=("course", "detector"))
