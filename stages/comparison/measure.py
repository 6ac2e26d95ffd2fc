"""Measures contenders on a split: every video is read once, every distinct answer scored once.

Legend: N tracks of an expression, K tracks of all expressions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.comparison.contenders import Contender, Cost, Verdict
from stages.comparison.existence import FACTORS
from stages.comparison.recall import TRACKED, Ranks, has_labels
from stages.comparison.video import Row, VideoScorer, View, open_view
from stages.core.records import Source, Split, TrackId, Video
from stages.core.state.graph import Layout
from stages.metrics.protocol import Figures
from stages.metrics.protocols import protocol_of
from stages.metrics.report import Evaluation, summarise
from stages.selectors.validation import precision_recall_f1

Mix = tuple[Source, ...]
SWEEP = tuple(round(0.02 * step, 2) for step in range(1, 50))
# Labels of a measurement; OWN = the method decides by itself, CURVED = with another weight of existence.
SWEPT, BEST, OWN, CURVED = "swept", "best", "", "existence"


@dataclass(frozen=True)
class Case:
    """What a measurement is of: a contender, the sources of its tracks, and a threshold by its label, or a factor of the
    weights of existence."""

    contender: int
    mix: Mix
    label: str
    threshold: float | None
    factor: float | None = None


@dataclass(frozen=True)
class Measurement:
    """The figures of a case.

    Attributes:
        figures, groups: those of `metrics.json` (stages/metrics/report.py).
        tracks: precision, recall and F1 of the chosen tracks against the labels a selector learns from; None
            where the track files hold none.
        cost: of a decision from evidence; None = it is not one.
    """

    case: Case
    name: str
    run: str
    figures: Figures
    groups: Mapping[str, Figures]
    tracks: tuple[float, float, float] | None
    cost: Cost | None = None


@dataclass(frozen=True)
class _Asked:
    """What every case of a video needs: each expression's tracks, and their labels where there are any."""

    view: View
    candidates: list[list[TrackId]]
    labels: list[NDArray[np.bool_] | None]


@dataclass
class _Tally:
    rows: list[Row] = field(default_factory=list)
    extras: dict[str, Any] = field(default_factory=dict)
    chosen: list[NDArray[np.bool_]] = field(default_factory=list)
    labels: list[NDArray[np.bool_]] = field(default_factory=list)


class Measurer:
    """Takes a split's videos one by one.

    Args:
        ratio: `evaluate.boundary_ratio`.
        positive_iou: `selector.training.positive_iou`, of the labels.
    """

    def __init__(
        self,
        layout: Layout,
        split: Split,
        contenders: Sequence[Contender],
        mixes: Sequence[Mix],
        ratio: float,
        positive_iou: float,
    ) -> None:
        self.layout, self.split, self.contenders, self.mixes = layout, split, contenders, mixes
        self.ratio, self.positive_iou = ratio, positive_iou
        self.ranks: dict[tuple[Mix, str, str], Ranks] = {}  # (sources, order, run) → places of fitting tracks
        self._tallies: dict[Case, _Tally] = {}

    def add(self, video: Video) -> None:
        """
        Raises:
            ValueError: a file of the video is missing or damaged, or masks do not fit the annotations.
        """
        sources = list(dict.fromkeys(source for mix in self.mixes for source in mix))
        scorer = VideoScorer(self.layout, self.split, video, sources, self.ratio)
        for mix in self.mixes:
            view = open_view(scorer, mix)
            asked = self._ask(view)
            verdicts_of = {i: c.method(view) for i, c in enumerate(self.contenders) if c.fits(mix)}
            for index, verdicts in verdicts_of.items():
                for case in self._cases(index, mix):
                    self._count(case, asked, verdicts)
                if (curve := self.contenders[index].curve) is not None:
                    for factor in FACTORS:
                        self._count(Case(index, mix, CURVED, None, factor), asked, curve(view, factor))
            if has_labels(view):
                self._rank(mix, view, {i: v for i, v in verdicts_of.items() if self.contenders[i].swept})

    def measurements(self) -> list[Measurement]:
        """One per case, in the order of mixes, contenders and thresholds; the best of a sweep again as BEST."""
        measured = [self._measured(case, tally) for case, tally in self._tallies.items()]
        return sorted(
            measured + list(self._best(measured)), key=lambda m: (self.mixes.index(m.case.mix), m.case.contender)
        )

    def title(self) -> str:
        """What the figures are quoted under."""
        rows = next(iter(self._tallies.values())).rows
        return protocol_of(self.split.protocol).title([row for row in rows if row["J&F"] is not None])

    def notes(self) -> list[str]:
        """The contenders' remarks."""
        return [c.note() for c in self.contenders if c.note is not None]

    def _cases(self, index: int, mix: Mix) -> Iterator[Case]:
        contender = self.contenders[index]
        if not contender.swept:
            yield Case(index, mix, OWN, None)
            return
        yield from (Case(index, mix, label, threshold) for label, threshold in contender.thresholds.items())
        yield from (Case(index, mix, SWEPT, threshold) for threshold in SWEEP)

    def _ask(self, view: View) -> _Asked:
        known = [has_labels(view) and expression.annotations is not None for expression in view.video.expressions]
        return _Asked(
            view,
            [view.candidates(e) for e in range(len(known))],
            [view.tracks.labels_of(e, self.positive_iou) if known[e] else None for e in range(len(known))],
        )

    def _count(self, case: Case, asked: _Asked, verdicts: Sequence[Verdict]) -> None:
        tally, video, scorer = self._tallies.setdefault(case, _Tally()), asked.view.video, asked.view.scorer
        scored = []
        for expression, candidates, labels_N, verdict in zip(
            video.expressions, asked.candidates, asked.labels, verdicts, strict=True
        ):
            chosen_N = verdict.choose(case.threshold)
            row, answer, comparison = scorer.score(expression, verdict.pick(candidates, chosen_N))
            tally.rows.append(row)
            if comparison is not None:
                scored.append((answer, comparison))
            if labels_N is not None:
                tally.chosen.append(chosen_N)
                tally.labels.append(labels_N)
        if scorer.protocol.extra is not None:
            tally.extras[video.id] = scorer.protocol.extra(scorer.scene, scored, self.ratio)

    def _rank(self, mix: Mix, view: View, verdicts_of: Mapping[int, Sequence[Verdict]]) -> None:
        for e, expression in enumerate(view.video.expressions):
            if not expression.annotations:
                continue
            tracked = np.arange(len(view.candidates(e)))
            self.ranks.setdefault((mix, TRACKED, ""), Ranks()).add(view, e, tracked)
            for index, verdicts in verdicts_of.items():
                contender = self.contenders[index]
                order_N = np.argsort(-verdicts[e].logits_N, kind="stable")
                self.ranks.setdefault((mix, contender.name, contender.run), Ranks()).add(view, e, order_N)

    def _measured(self, case: Case, tally: _Tally) -> Measurement:
        contender = self.contenders[case.contender]
        evaluation = Evaluation(self.split.protocol, tally.rows, tally.extras)
        summary = summarise(evaluation, self.layout.dataset, self.layout.split)
        tracks = (
            precision_recall_f1(np.concatenate(tally.chosen), np.concatenate(tally.labels)) if tally.labels else None
        )
        cost = None if contender.cost is None else contender.cost()
        groups = summary.get("groups", {})
        return Measurement(case, contender.name, contender.run, summary["figures"], groups, tracks, cost)

    def _best(self, measured: Sequence[Measurement]) -> Iterator[Measurement]:
        """Each contender at the threshold, swept or asked for, with the highest quoted figure."""
        sweeps: dict[tuple[int, Mix], list[Measurement]] = {}
        for measurement in measured:
            if measurement.case.threshold is not None:
                sweeps.setdefault((measurement.case.contender, measurement.case.mix), []).append(measurement)
        for (contender, mix), sweep in sweeps.items():
            best = max(sweep, key=lambda m: (quoted(self.split, m.figures), -abs((m.case.threshold or 0.0) - 0.5)))
            case = Case(contender, mix, BEST, best.case.threshold)
            yield Measurement(case, best.name, best.run, best.figures, best.groups, best.tracks)


def quoted(split: Split, figures: Figures) -> float:
    """The figure that the split's protocol quotes; −1 where it has none."""
    value = figures.get(protocol_of(split.protocol).metric)
    return -1.0 if value is None else value
