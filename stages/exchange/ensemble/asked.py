"""What an ensemble is asked to average, and the runs and splits that this opens."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.core.config.loading import check_split, load_config
from stages.core.records import Split, Video
from stages.core.run.cli import Job
from stages.core.state.frames import FrameFolder, open_frames
from stages.core.state.graph import Layout
from stages.datasets import open_split
from stages.exchange.ensemble.fit import HALF
from stages.exchange.ensemble.fitting import fit_runs, mixture_of, refuse_scored, report_of
from stages.exchange.ensemble.mean import Mixture
from stages.exchange.ensemble.runs import Place, Run, missing_of, open_run, refuse_missing
from stages.exchange.importing import Import

CONFIGS = (".yaml", ".yml")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What to average, and how.

    Attributes:
        name: of the ensemble, a folder below imports.
        runs: name → file or folder, or config file; None = the config's own decisions.
        soft: names of runs whose PNGs are probabilities.
        weights: name → weight, 1 where it is missing; None = equal, or fitted.
        threshold: of the mean; None = a half, or fitted.
        fit_on: <dataset>/<split>, or a split of the data set; None = nothing is fitted.
        fit_runs: name → the same system's predictions of that split, of runs that are files.
        fit_limit: only so many videos of that split.
        missing_is_empty: whether predictions that a run lacks count as empty; otherwise they are errors.
        configs: files of the config, over which a run's is laid.
    """

    name: str
    runs: Mapping[str, Path | None]
    soft: Sequence[str] = ()
    weights: Mapping[str, float] | None = None
    threshold: float | None = None
    fit_on: str | None = None
    fit_runs: Mapping[str, Path] = field(default_factory=dict)
    fit_limit: int | None = None
    missing_is_empty: bool = False
    configs: Sequence[Path] = (Path("config.yaml"),)

    def __post_init__(self) -> None:
        """Raises ValueError where names or flags do not fit together."""
        if not self.runs:
            raise ValueError("nothing to average: give --run once per system, or --own")
        if self.name in self.runs:
            raise ValueError(f"a run and the ensemble are both called {self.name!r}; give another --name")
        for flag, names in (("--soft", self.soft), ("--weight", self.weights or ()), ("--fit-run", self.fit_runs)):
            if unknown := [name for name in names if name not in self.runs]:
                raise ValueError(f"{flag} {unknown[0]}: no such run; there are {', '.join(self.runs)}")
        if self.fit_on is None and (self.fit_runs or self.fit_limit):
            raise ValueError("--fit-run and --fit-limit are for --fit-on, which names the split to fit to")
        if self.fit_on is not None and (self.weights is not None or self.threshold is not None):
            raise ValueError("--fit-on fits weights and threshold; leave --weight and --threshold out")
        places = [place.resolve() for place in self.runs.values() if place is not None]
        if twice := [place for place in places if places.count(place) > 1]:
            raise ValueError(f"{twice[0]}: given as two runs; give it once, with a --weight")


@dataclass(frozen=True)
class Opened:
    """A split with its frames."""

    job: Job
    split: Split
    videos: Sequence[Video]
    folders: dict[str, FrameFolder]

    @classmethod
    def of(cls, job: Job) -> "Opened":
        """Raises ValueError where a video is defective, or its frames are not extracted."""
        split = open_split(job.config, job.dataset, job.split)
        videos = split.videos()[: job.limit]
        if defective := [video.defect for video in videos if video.defect]:
            raise ValueError(defective[0])
        return cls(job, split, videos, {video.id: open_frames(job.layout, video.id) for video in videos})

    @property
    def place(self) -> str:
        return f"{self.job.dataset}/{self.job.split}"


def place_of(job: Job, asked: Asked, path: Path | None) -> Place:
    """Where a run's predictions of the job's split are."""
    if path is None:
        return job.layout
    if path.suffix in CONFIGS:
        return Layout.of(load_config(*asked.configs, path), job.dataset, job.split)
    return path


def open_runs(stack: ExitStack, opened: Opened, asked: Asked, places: Mapping[str, Place]) -> list[Run]:
    runs = []
    for name, place in places.items():
        soft = name in asked.soft
        runs.append(stack.enter_context(open_run(name, place, opened.split, opened.videos, opened.folders, soft=soft)))
        for note in runs[-1].incoming.notes:
            log.warning("run %r: %s", name, note)
        if surplus := runs[-1].incoming.surplus:
            log.warning("run %r: %d predictions are of no use here; first: %s", name, len(surplus), surplus[0])
    return runs


def complete(runs: Sequence[Run], videos: Sequence[Video], asked: Asked) -> list[str]:
    """Notes of what is missing and counts as empty; raises ValueError where it must not be missing."""
    notes = []
    for one in runs:
        missing = missing_of(one, videos)
        if not asked.missing_is_empty:
            refuse_missing(one, missing)
        elif missing:
            notes.append(
                f"run {one.name!r}: {len(missing)} predictions are missing and count as empty; first: {missing[0]}"
            )
    return notes


def fitting_split(opened: Opened, asked: Asked) -> Opened:
    """The split to fit to; raises ValueError where it is the averaged one or holds a video of it."""
    assert asked.fit_on is not None
    job = opened.job
    dataset, _, split = asked.fit_on.rpartition("/")
    dataset = dataset or job.dataset
    check_split(job.config, dataset, split)
    place = f"{dataset}/{split}"
    refuse_scored(opened.place, {}, place, {})  # before its frames are asked for
    fitting = Opened.of(replace(job, dataset=dataset, split=split, limit=asked.fit_limit))
    refuse_scored(opened.place, opened.folders, place, fitting.folders)
    return fitting


def mixed(
    stack: ExitStack, target: Import, runs: Sequence[Run], fitting: Opened | None, asked: Asked
) -> tuple[Mixture, dict[str, Any] | None]:
    """Weights and threshold, and how they were fitted."""
    if fitting is None:
        given = asked.weights or {}
        return Mixture(
            {r.name: given.get(r.name, 1.0) for r in runs}, HALF if asked.threshold is None else asked.threshold
        ), None
    job = fitting.job
    others = open_runs(stack, fitting, asked, {name: fit_place(job, asked, name) for name in asked.runs})
    complete(others, fitting.videos, asked)
    cache = Layout(target.layout.cache, job.dataset, job.split)
    fitted = fit_runs(cache, fitting.split, fitting.videos, fitting.folders, others)
    return mixture_of(fitted, others), report_of(fitted, fitting.place, others)


def fit_place(job: Job, asked: Asked, name: str) -> Place:
    """Where a run's predictions of the split to fit to are."""
    path = asked.runs[name]
    is_file = path is not None and path.suffix not in CONFIGS
    if is_file and name not in asked.fit_runs:
        raise ValueError(
            f"run {name!r}: weights are fitted to its predictions of {job.dataset}/{job.split}: give --fit-run {name}=PATH"
        )
    if not is_file and name in asked.fit_runs:
        raise ValueError(
            f"--fit-run {name}: its decisions on {job.dataset}/{job.split} are read from its cache; leave the flag out"
        )
    return asked.fit_runs[name] if is_file else place_of(job, asked, path)
