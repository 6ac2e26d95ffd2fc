"""A protocol: how many pixels were predicted, and J and F beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.metrics.protocol import Figures, Protocol, Row, mean_of
from stages.metrics.scene import Answer, Comparison, Scene


def columns(scene: Scene, answer: Answer, comparison: Comparison) -> dict[str, Any]:
    return {"pixels": int(comparison.pred.area.sum())}


def figures(rows: Sequence[Row], extras: Mapping[str, Any]) -> Figures:
    return mean_of(rows, "J&F", "pixels")


PROTOCOL = Protocol("pixels", lambda rows: "pixels predicted", figures, columns=columns)
