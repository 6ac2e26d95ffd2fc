"""The oracle, baselines and threshold curves beside the run's own decisions: what the same tracks allow.

Everything is measured as `referee compare` does it, from decisions, tracks and truth in the cache; no model is loaded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.comparison.baselines import Oracle, baselines
from stages.comparison.contenders import Contender, Verdict
from stages.comparison.lines import Line, lines_of, swept_lines
from stages.comparison.measure import Measurer, Mix
from stages.comparison.video import View
from stages.core.records import Split, Video
from stages.core.run.cli import Job
from stages.core.run.progress import Progress
from stages.core.state.cache import CacheError, remedy
from stages.core.state.choices import read_choices
from stages.core.state.graph import BUILD_TRACKS, RERANK_TRACKS
from stages.metrics.protocols import protocol_of

OWN, BY_FINAL, BY_SCORE, ORACLE = "this run", "by final score", "by the selector's score", "oracle"
PLAIN = ("gdino-best", "largest", "random", "all", "none")


@dataclass
class Measured:
    """What was measured.

    Attributes:
        lines: of methods that decide by themselves; `swept`: of scores at all thresholds.
        oracle: (video, expression) → J&F of the best union of its tracks.
        notes: remarks in words.
    """

    lines: Sequence[Line] = ()
    swept: Sequence[Line] = ()
    oracle: Mapping[tuple[str, str], float] = field(default_factory=dict)
    notes: Sequence[str] = ()


class _Remembering:
    """The oracle, and what it reached for each expression."""

    def __init__(self) -> None:
        self.oracle, self.reached = Oracle(), dict[tuple[str, str], float]()

    def __call__(self, view: View) -> list[Verdict]:
        verdicts = self.oracle(view)
        for e, (expression, verdict) in enumerate(zip(view.video.expressions, verdicts, strict=True)):
            row = view.scorer.outcome(expression, view.candidates(e), verdict.choose(None))
            if row["J&F"] is not None:
                self.reached[view.video.id, expression.id] = row["J&F"]
        return verdicts


class _Decided:
    """The run's candidates: as they were chosen, or by one of their numbers at any threshold."""

    def __init__(self, job: Job, by: str) -> None:
        self.job, self.by = job, by

    def __call__(self, view: View) -> list[Verdict]:
        path = self.job.layout.file(RERANK_TRACKS, view.video.id)
        choices, verdicts = read_choices(path, RERANK_TRACKS), []
        for e, expression in enumerate(view.video.expressions):
            known = {candidate.id: candidate for candidate in choices.get(expression.id, ())}
            if known.keys() != set(view.candidates(e)):
                raise CacheError(f"{path}: decides about other tracks than there are; {remedy(RERANK_TRACKS.name)}")
            mine = [known[track] for track in view.candidates(e)]
            finals = [c.score if c.final is None else c.final for c in mine]
            logits_N = np.array([c.score for c in mine] if self.by == BY_SCORE else finals, np.float64)
            verdicts.append(Verdict(logits_N, np.array([c.chosen for c in mine], bool) if self.by == OWN else None))
        return verdicts


def measure(job: Job, split: Split, videos: Sequence[Video]) -> Measured:
    """Measures the run and what stands beside it.

    Raises:
        ValueError: a file is missing or damaged, or is about other tracks than there are.
    """
    mix, remembering = mix_of(job, videos), _Remembering()
    contenders = [
        Contender(OWN, _Decided(job, OWN)),
        Contender(ORACLE, remembering, note=remembering.oracle.note),
        Contender(BY_FINAL, _Decided(job, BY_FINAL), swept=True),
        Contender(BY_SCORE, _Decided(job, BY_SCORE), swept=True),
        *(contender for contender in baselines(PLAIN, seeds=[0]) if contender.fits(mix)),
    ]
    settings = job.settings
    ratio, positive_iou = settings.evaluate.boundary_ratio, settings.selector.training.positive_iou
    measurer = Measurer(job.layout, split, contenders, [mix], ratio, positive_iou)
    with Progress(f"measure {job.dataset}/{job.split}", len(videos)) as progress:
        for video in videos:
            measurer.add(video)
            progress.more(1)
    metric, measurements = protocol_of(split.protocol).metric, measurer.measurements()
    return Measured(
        lines_of(measurements, metric, best=False),
        swept_lines(measurements, metric),
        remembering.reached,
        measurer.notes(),
    )


def mix_of(job: Job, videos: Iterable[Video]) -> Mix:
    """The sources of the tracks that the run chose from.

    Raises:
        ValueError: the tracks of one of them are not there, as where predictions were imported.
    """
    mix = tuple(job.settings.selector.sources.evaluate)
    for video in videos:
        for source in mix:
            path = job.layout.file(BUILD_TRACKS, video.id, source)
            if not path.exists():
                raise CacheError(f"{path}: does not exist; {remedy(BUILD_TRACKS.name)}")
    return mix
