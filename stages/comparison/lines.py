"""From measurements of runs to lines of a table: means over the runs of one name, and their spread."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.comparison.contenders import Cost
from stages.comparison.measure import BEST, CURVED, OWN, SWEPT, Measurement, Mix
from stages.metrics.protocol import Figures, mean

ORACLE = "oracle"
TRACK_FIGURES = ("track precision", "track recall", "track F1")


@dataclass(frozen=True)
class Spread:
    """A figure over some runs: its mean, and the sample standard deviation, None for a single run."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        centre = mean(values)
        assert centre is not None
        if len(values) == 1:
            return cls(centre, None)
        return cls(centre, math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1)))


@dataclass(frozen=True)
class Line:
    """A line of the table; None = the figure is not defined.

    Attributes:
        name, mix, label: what is measured: the contender, the sources of its tracks, the label of its threshold.
        threshold: the mean over runs; None where the method decides by itself.
        runs: how many.
        figures: by name: those of the protocol, the quoted one first, and TRACK_FIGURES.
        groups: group → its figures.
        cost: of a decision from evidence; None = it is not one.
    """

    name: str
    mix: Mix
    label: str
    threshold: float | None
    runs: int
    figures: Mapping[str, Spread | None]
    groups: Mapping[str, Mapping[str, Spread | None]]
    cost: Cost | None = None

    @property
    def sources(self) -> str:
        return "+".join(self.mix)


def lines_of(measurements: Sequence[Measurement], metric: str, *, best: bool) -> list[Line]:
    """One line per contender, mix and threshold, in the order of the measurements.

    Args:
        metric: the figure to list first.
        best: whether thresholds chosen on the split itself are shown.
    """
    runs: dict[tuple[str, Mix, str], list[Measurement]] = {}
    for m in measurements:
        if m.case.label not in (SWEPT, CURVED) and (best or m.case.label != BEST):
            runs.setdefault((m.name, m.case.mix, m.case.label), []).append(m)
    return [_line(key, group, metric) for key, group in runs.items()]


def swept_lines(measurements: Sequence[Measurement], metric: str) -> list[Line]:
    """One line per contender, mix and threshold of the sweep; its label is the threshold."""
    runs: dict[tuple[str, Mix, str], list[Measurement]] = {}
    for m in measurements:
        if m.case.label == SWEPT:
            runs.setdefault((m.name, m.case.mix, str(m.case.threshold)), []).append(m)
    return [_line(key, group, metric) for key, group in runs.items()]


def curve_lines(measurements: Sequence[Measurement], metric: str) -> list[Line]:
    """One line per decision, mix and factor of the weights of existence; its label is the factor."""
    runs: dict[tuple[str, Mix, str], list[Measurement]] = {}
    for m in measurements:
        if m.case.label == CURVED:
            runs.setdefault((m.name, m.case.mix, str(m.case.factor)), []).append(m)
    return [_line(key, group, metric) for key, group in runs.items()]


def share_of_oracle(line: Line, lines: Sequence[Line], metric: str) -> float | None:
    """The line's figure over that of the oracle on the same tracks."""
    top = next((other for other in lines if (other.name, other.mix, other.label) == (ORACLE, line.mix, OWN)), None)
    mine, best = line.figures.get(metric), top.figures.get(metric) if top else None
    return None if mine is None or best is None or not best.mean else mine.mean / best.mean


def _line(key: tuple[str, Mix, str], runs: Sequence[Measurement], metric: str) -> Line:
    name, mix, label = key
    thresholds = [m.case.threshold for m in runs if m.case.threshold is not None]
    figures = _spreads([_first(m.figures, metric) | _of_tracks(m) for m in runs])
    groups = {group: _spreads([m.groups[group] for m in runs]) for group in runs[0].groups}
    return Line(name, mix, label, mean(thresholds), len(runs), figures, groups, runs[0].cost)


def _first(figures: Figures, metric: str) -> dict[str, Any]:
    return {metric: figures.get(metric), **figures}


def _of_tracks(measurement: Measurement) -> dict[str, Any]:
    return dict(zip(TRACK_FIGURES, measurement.tracks or (None,) * len(TRACK_FIGURES), strict=True))


def _spreads(runs: Sequence[Mapping[str, Any]]) -> dict[str, Spread | None]:
    columns = {name: [figures[name] for figures in runs] for name in runs[0]}
    return {name: None if None in values else Spread.of(values) for name, values in columns.items()}
