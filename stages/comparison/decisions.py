"""Decisions from scores and evidence as contenders: the lines of `compare.decisions`.

    compare:
      variants: {seen: {inputs: [course]}}
      decisions:
        sola: {selector: sola, seeds: 3}
        sola + detector: {selector: sola, evidence: [detector], fusion: fitted, rule: {kind: relative}}
        sola, mean of seeds: {selector: sola, seeds: 3, mean_of_seeds: true}
        judge alone: {selector: null, evidence: [judge], fusion: fitted}

A line is decided as rerank_tracks would decide with its `selector` and its keys of `rerank`, but in memory: a selector's
trainings score the tracks in place, evidence comes from the cache, and a fitted fusion is fitted to `rerank.fit_on` at
once. So a line costs seconds once its evidence is there. The compared split is never fitted to.

Legend: N tracks of an expression.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.comparison.contenders import Contender, Method, Verdict
from stages.comparison.existence import looks_at_existence, reweighed
from stages.comparison.known import Known, decided_by, refuse_scored
from stages.comparison.selectors import in_place, trained
from stages.comparison.video import VideoScorer, View, open_view
from stages.core.config.loading import decider, fitting_split, nearest
from stages.core.config.sections import Rerank
from stages.core.records import Expression
from stages.core.run.cli import Job
from stages.core.run.progress import Progress
from stages.datasets import open_split
from stages.evidence.fusion.decide import Fusion, decide
from stages.evidence.fusion.fit import Fitted, fit
from stages.evidence.fusion.fixed import fixed_fusion, rule_settings
from stages.evidence.fusion.objective import FIGURES, quality_of
from stages.evidence.fusion.reading import inputs_of
from stages.evidence.fusion.table import Sentence
from stages.selectors import load

log = logging.getLogger(__name__)
PLAIN_THRESHOLD = 0.5  # of evidence alone with fixed weights, where no selector has calibrated one


class Scores:
    """A selector that scores videos of any split; each is scored once for all lines."""

    def __init__(self, path: Path, device: str) -> None:
        self.path, self.selector = path, load(path, device)
        self.threshold = self.selector.threshold
        self._methods: dict[tuple[str, str], Method] = {}
        self._logits: dict[tuple[str, str, str], list[NDArray[np.float64]]] = {}

    def of(self, job: Job, view: View) -> list[NDArray[np.float64]]:
        """(N,) logits for every expression of a video of the job's split."""
        place = job.dataset, job.split
        if place not in self._methods:
            self._methods[place] = in_place(job, self.path, self.selector)
        key = (*place, view.video.id)
        if key not in self._logits:
            self._logits[key] = [verdict.logits_N for verdict in self._methods[place](view)]
        return self._logits[key]


class MeanScores:
    """The mean of several selectors' logits: trainings err in different places."""

    def __init__(self, parts: Sequence[Scores]) -> None:
        self.parts = parts

    @property
    def threshold(self) -> float:
        return float(np.mean([part.threshold for part in self.parts]))

    def of(self, job: Job, view: View) -> list[NDArray[np.float64]]:
        """(N,) logits for every expression of a video of the job's split."""
        of_each = [part.of(job, view) for part in self.parts]
        return [np.mean(logits, axis=0) for logits in zip(*of_each, strict=True)]


@dataclass(frozen=True, eq=False)
class Run:
    """A run of a line: whose scores (None = evidence alone), and how they decide."""

    name: str
    seeds: tuple[int, ...]
    scores: Scores | MeanScores | None
    rerank: Rerank

    @property
    def label(self) -> str:
        """ "seed 0", "mean of seeds 0, 1"; nothing where there is no selector."""
        words = ", ".join(map(str, self.seeds))
        return f"mean of seeds {words}" if len(self.seeds) > 1 else f"seed {words}" if words else ""

    def sentences(self, known: Known, view: View) -> list[Sentence]:
        """The video's sentences as the run sees them."""
        plain = known.sentences(view)
        logits = [None] * len(plain) if self.scores is None else self.scores.of(known.job, view)
        overlaps = self.rerank.same_iou is not None
        return [
            decided_by(sentence, self.rerank.evidence, score_N, overlaps=overlaps)
            for sentence, score_N in zip(plain, logits, strict=True)
        ]


class Fitting:
    """The split that fusions are fitted to, read once.

    Raises:
        ValueError: it has no ground truth, or its files are missing.
    """

    def __init__(self, job: Job, names: Sequence[str], *, overlaps: bool) -> None:
        self.job, self.known = job, Known(job, names, overlaps=overlaps, keep=True)
        self.place = f"{job.dataset}/{job.split}"
        split, sources = open_split(job.config, job.dataset, job.split), job.settings.selector.sources.evaluate
        if not split.has_truth:
            raise ValueError(f"{self.place} has no ground truth: a fusion is fitted to a split that has it")
        videos = [video for video in split.videos() if not video.defect]
        self.views: list[View] = []
        with Progress(f"compare, fitting to {self.place}", len(videos)) as progress:
            for video in videos:
                scorer = VideoScorer(job.layout, split, video, sources, job.settings.evaluate.boundary_ratio)
                self.views.append(open_view(scorer, sources))
                self.known.sentences(self.views[-1])
                progress.more(1)

    def fit(self, run: Run) -> Fitted:
        """The fusion of a run; raises ValueError where there is nothing to learn."""
        asked, sentences = self._labelled(run)

        def outcome(index: int, chosen_N: NDArray[np.bool_]) -> dict[str, Any]:
            view, expression = asked[index]
            return view.scorer.outcome(expression, sentences[index].tracks, chosen_N)

        rerank = run.rerank
        quality = quality_of(rerank.objective, outcome, [bool(expression.annotations) for _, expression in asked])
        inputs = inputs_of(sentences, behind=rerank.behind_best, looks=rerank.looks_apart)
        inputs = replace(inputs, score=run.scores is not None)
        return fit(sentences, inputs, rerank.rule.kind, rule_settings(rerank), rerank.same_iou, quality, ablate=False)

    def _labelled(self, run: Run) -> tuple[list[tuple[View, Expression]], list[Sentence]]:
        """The sentences of known truth as the run sees them, and whose they are."""
        asked, sentences = [], []
        positive_iou = self.job.settings.selector.training.positive_iou
        for view in self.views:
            for e, sentence in enumerate(run.sentences(self.known, view)):
                expression = view.video.expressions[e]
                if expression.annotations is not None:
                    asked.append((view, expression))
                    sentences.append(replace(sentence, labels_N=view.tracks.labels_of(e, positive_iou)))
        return asked, sentences


def open_decisions(job: Job, names: Sequence[str], seeds: Sequence[int], device: str) -> list[Contender]:
    """The contenders of some lines, one per run; fusions are fitted here.

    Args:
        names: of lines of `compare.decisions`.
        seeds: of trainings; a line takes as many of the first as it says.

    Raises:
        ValueError: no such line, a training is missing, evidence depends on one selector's scores, or a fusion would be
            fitted to the compared split.
        CacheError: evidence or tracks are missing, damaged, or do not fit together.
    """
    runs = runs_of(job, names, seeds, device)
    if not runs:
        return []
    evidence = list(dict.fromkeys(name for run in runs for name in run.rerank.evidence))
    overlaps = any(run.rerank.same_iou is not None for run in runs)
    known, fitting = Known(job, evidence, overlaps=overlaps), None
    if any(run.rerank.fusion == "fitted" for run in runs):
        fitting = Fitting(fitting_job(job), evidence, overlaps=overlaps)
    return [_contender(job, run, known, fitting) for run in runs]


def runs_of(job: Job, names: Sequence[str], seeds: Sequence[int], device: str) -> list[Run]:
    """The runs of some lines; every selector is loaded once."""
    lines, opened = job.settings.compare.decisions, dict[Path, Scores]()
    runs = []
    for name in names:
        if name not in lines:
            raise ValueError(f"no line {name!r} in compare.decisions{nearest(name, lines)}")
        line, rerank = lines[name], decider(job.settings, name)
        refuse_scored(job.settings, rerank.evidence, name)
        if line.is_without_selector:
            runs.append(Run(name, (), None, rerank))
            continue
        selector, own = line.selector or job.settings.selector.name, tuple(seeds[: line.seeds])
        paths = [trained(job, selector, seed, line.variant) for seed in own]
        for path in paths:
            if path not in opened:
                opened[path] = Scores(path, device)
        if line.mean_of_seeds:
            runs.append(Run(name, own, MeanScores([opened[path] for path in paths]), rerank))
        else:
            runs += [Run(name, (seed,), opened[path], rerank) for seed, path in zip(own, paths, strict=True)]
    return runs


def fitting_job(job: Job) -> Job:
    """The job of the split that fusions are fitted to; raises ValueError where that is the compared one."""
    place, own = fitting_split(job.config, job.dataset), f"{job.dataset}/{job.split}"
    if place == own:
        raise ValueError(
            f"{own}: fusions are fitted to this split, so decisions here would be flattered; compare on another split, "
            "or set rerank.fit_on"
        )
    dataset, split = place.split("/")
    return replace(job, dataset=dataset, split=split, limit=None)


def _contender(job: Job, run: Run, known: Known, fitting: Fitting | None) -> Contender:
    fitted = None
    if run.rerank.fusion == "fitted":
        assert fitting is not None
        fitted = fitting.fit(run)
        figure = FIGURES[run.rerank.objective]
        log.info("%s: %s %.1f on %s", run.name, figure, 100 * fitted.figures.quality, fitting.place)
    fusion = fitted.fusion if fitted else fixed_fusion(run.rerank, threshold_of(job, run.scores))
    return Contender(
        run.name,
        partial(verdicts, run, known, fusion),
        run.label,
        only=tuple(job.settings.selector.sources.evaluate),
        cost=partial(known.cost, run.rerank.evidence),
        report=report_of(run, fusion, fitted, fitting.place if fitting and fitted else None),
        curve=partial(curve, run, known, fusion) if looks_at_existence(fusion) else None,
    )


def verdicts(run: Run, known: Known, fusion: Fusion, view: View) -> list[Verdict]:
    decisions = [decide(fusion, sentence) for sentence in run.sentences(known, view)]
    return [Verdict(decision.final_N, decision.chosen_N) for decision in decisions]


def curve(run: Run, known: Known, fusion: Fusion, view: View, factor: float) -> list[Verdict]:
    """The verdicts where existence weighs `factor` times as much."""
    return verdicts(run, known, reweighed(fusion, factor), view)


def threshold_of(job: Job, scores: Scores | MeanScores | None) -> float:
    """Where a fixed fusion decides whose rule says auto."""
    configured = job.settings.selector.threshold
    if configured != "auto":
        return configured
    return PLAIN_THRESHOLD if scores is None else scores.threshold


def report_of(run: Run, fusion: Fusion, fitted: Fitted | None, place: str | None) -> dict[str, Any]:
    """How a run decides, for compare.json: as fusion.json says it."""
    report: dict[str, Any] = {
        "seeds": list(run.seeds),
        "evidence": run.rerank.evidence,
        "fitted_on": place,
        **fusion.to_json(),
    }
    if fitted is not None:
        report["moves"] = fitted.moves
        report["figures"] = asdict(fitted.figures)
    return report
