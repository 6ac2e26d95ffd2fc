"""J and F alone, averaged over frames, then over expressions: Ref-YouTube-VOS, and sets without a protocol of their own.

The server's code of Ref-YouTube-VOS (Seo et al., ECCV 2020) was never released; what is known of it is that it
averages J and F over frames and expressions. Figures made here are labelled unofficial.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.metrics.protocol import Figures, Protocol, Row, boundary_kind, mean_of


def figures(rows: Sequence[Row], extras: Mapping[str, Any]) -> Figures:
    return mean_of(rows, "J", "F", "J&F")


def title(rows: Sequence[Row]) -> str:
    return f"no published protocol: mean over frames, then expressions; {boundary_kind(rows)}"


def title_ytvos(rows: Sequence[Row]) -> str:
    kind = boundary_kind(rows).removeprefix("official ")
    return f"Ref-YouTube-VOS, unofficial (the server's code is not public): mean over frames, then expressions; {kind}"


UNNAMED = Protocol("J&F", title, figures)
YTVOS = Protocol("J&F", title_ytvos, figures)
