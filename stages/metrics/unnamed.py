"""For data sets without a protocol of their own: J and F, averaged over frames, then over expressions."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.metrics.protocol import Figures, Protocol, Row, boundary_kind, mean_of


def figures(rows: Sequence[Row], extras: Mapping[str, Any]) -> Figures:
    return mean_of(rows, "J", "F", "J&F")


def title(rows: Sequence[Row]) -> str:
    return f"no published protocol: mean over frames, then expressions; {boundary_kind(rows)}"


UNNAMED = Protocol("J&F", title, figures)
