"""Selectors as contenders: score files, decisions, weight files scored in place, trainings by their seed.

The command line names a selector as NAME=PLACE. PLACE is one of

| PLACE | what is compared |
|---|---|
| scores | the split's score files (score_tracks), at any threshold |
| decisions | the split's decisions as they stand (rerank_tracks): what `stages.evaluate` scores |
| pipeline | the data set's own selector (`datasets.<name>.selector`), scored in place |
| trained | selectors of this architecture (`selector.name`) trained on its training split, one run per seed |
| a folder | a finished training (best.safetensors, training.json), or score files |
| a file | a selector's weights, scored in place |

Several places under one NAME make one line of the table, their mean.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.comparison.contenders import Contender, Method, Verdict
from stages.comparison.video import View
from stages.core.config.loading import dataset_of
from stages.core.config.selector_sections import Detector
from stages.core.records import Source, TrackId
from stages.core.run.cli import Job
from stages.core.state.cache import CacheError, read_stamp, remedy
from stages.core.state.choices import Candidate, read_choices, read_threshold
from stages.core.state.fingerprints import upstream
from stages.core.state.graph import RERANK_TRACKS, SCORE_TRACKS, TRAIN_SELECTOR, Layout, Stage
from stages.selectors import BEST, MARKER, Selector, finished_selector, load, training_folder
from stages.selectors.checkpoint import read_header
from stages.selectors.inputs import read_inputs
from stages.selectors.scoring import score_video

SCORES, DECISIONS, PIPELINE, TRAINED = "scores", "decisions", "pipeline", "trained"
CONFIG, CALIBRATED = "config", "calibrated"  # labels of thresholds


@dataclass(frozen=True)
class Asked:
    """NAME=PLACE of the command line."""

    name: str
    place: str


def parse_asked(text: str) -> Asked:
    """Raises ValueError where it is not of the form NAME=PLACE."""
    name, equals, place = text.partition("=")
    if not (name and equals and place):
        raise ValueError(f"--selector {text!r}: give NAME=PLACE, as sola=scores or mine=best.safetensors")
    return Asked(name, place)


def open_selectors(
    job: Job, asked: Sequence[Asked], seeds: Sequence[int], thresholds: Sequence[str], device: str
) -> list[Contender]:
    """The contenders that the command line asks for; weights are loaded once, to `device`.

    Args:
        seeds: of `trained`.
        thresholds: labels: "config", "calibrated", or numbers.

    Raises:
        ValueError: a place holds no selector, or a threshold is not a number in 0 … 1.
    """
    runs = Counter(one.name for one in asked)
    contenders: list[Contender] = []
    for one in asked:
        number = sum(c.name == one.name for c in contenders) + 1
        run = f"run {number}" if runs[one.name] > 1 else ""
        contenders += _open(job, one, run, seeds, thresholds, device)
    return contenders


def _open(
    job: Job, asked: Asked, run: str, seeds: Sequence[int], thresholds: Sequence[str], device: str
) -> list[Contender]:
    if asked.place == TRAINED:
        files = [(f"seed {seed}", trained(job, asked.name, seed)) for seed in seeds]
        return [_of_weights(job, asked.name, run, file, thresholds, device) for run, file in files]
    if asked.place == PIPELINE:
        return [_of_weights(job, asked.name, run, finished_selector(job.config, job.dataset), thresholds, device)]
    if asked.place == DECISIONS:
        folder, mix = job.layout.folder(RERANK_TRACKS), _mix_of(job, job.layout.folder(SCORE_TRACKS))
        return [Contender(asked.name, _from_files(folder, RERANK_TRACKS), run, only=mix)]
    folder = job.layout.folder(SCORE_TRACKS) if asked.place == SCORES else Path(asked.place)
    if (folder / BEST).is_file():
        return [_of_weights(job, asked.name, run, folder / BEST, thresholds, device)]
    if folder.is_file():
        return [_of_weights(job, asked.name, run, folder, thresholds, device)]
    mix = _mix_of(job, folder)
    levels = thresholds_of(job, thresholds, read_threshold(_first_scores(job, folder)))
    return [Contender(asked.name, _from_files(folder, SCORE_TRACKS), run, levels, swept=True, only=mix)]


def trained(job: Job, name: str, seed: int, label: str | None = None) -> Path:
    """The best weights of a finished training of this name and seed on the data set's training split.

    Args:
        label: one of compare.variants that the training is of; None = of none.

    Raises:
        ValueError: there is none; the message names the command that makes it.
    """
    choice = dataset_of(job.config, job.dataset).selector
    if choice.train is None:
        raise ValueError(f"datasets.{job.dataset}.selector.train is null: name the split that {name!r} is trained on")
    dataset, split = choice.train.split("/")
    own = Layout.of(job.config, dataset, split).variant(name, seed, label)
    configured = [training_folder(job.config, dataset, split)] if label is None else []
    for folder in (*configured, own):
        if _made_with(folder) == (name, seed):
            return folder / BEST
    flag = f" --variant {label}" if label else ""
    raise ValueError(
        f"{own}: holds no finished training of {name} with seed {seed}; run `python -m stages.train_selector --dataset "
        f"{dataset} --split {split} --name {name} --seed {seed}{flag}`"
    )


def _made_with(folder: Path) -> tuple[str, int] | None:
    """Name and seed of the finished training in a folder."""
    if not ((folder / MARKER).is_file() and (folder / BEST).is_file()):
        return None
    config = read_stamp(folder / MARKER, TRAIN_SELECTOR.name).ingredients["config"]
    return config["selector.name"], config["selector.training"]["seed"]


def thresholds_of(job: Job, labels: Sequence[str], own: float) -> dict[str, float]:
    """Label → threshold.

    Args:
        labels: numbers; "calibrated" for `own`, what the selector's training found on its validation split;
            "config" for what the pipeline decides by, which is left out where that is "calibrated" too.

    Raises:
        ValueError: a label is not a number in 0 … 1.
    """
    threshold_of: dict[str, float] = {}
    for label in labels:
        configured = job.settings.selector.threshold
        if label == CALIBRATED:
            threshold_of[label] = own
        elif label != CONFIG:
            threshold_of[label] = _number(label)
        elif configured != "auto":
            threshold_of[label] = configured
        elif CALIBRATED not in labels:
            threshold_of[label] = own
    return threshold_of


def _number(label: str) -> float:
    try:
        value = float(label)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"threshold {label!r}: give a number in 0 … 1, {CONFIG}, {CALIBRATED} or best")
    return value


def _of_weights(job: Job, name: str, run: str, path: Path, thresholds: Sequence[str], device: str) -> Contender:
    selector = load(path, device)
    levels = thresholds_of(job, thresholds, selector.threshold)
    return Contender(name, in_place(job, path, selector), run, levels, swept=True)


def in_place(job: Job, path: Path, selector: Selector) -> Method:
    """Scores with the weights, as score_tracks does."""
    header = read_header(path)

    def method(view: View) -> list[Verdict]:
        sources = [source for source, _, _ in view.tracks.sources]
        inputs = read_inputs(job.layout, [view.video], sources, header.seen_detector)
        header.check_weights(inputs.weights, path, f"{job.dataset}/{job.split}, video {view.video.id}")
        choices = score_video(selector, view.tracks, job.settings.run.batches.tokens)
        return [Verdict(np.array([c.score for c in choices[e.id]], np.float64)) for e in view.video.expressions]

    return method


def _from_files(folder: Path, stage: Stage) -> Method:
    def method(view: View) -> list[Verdict]:
        path = folder / f"{view.video.id}{stage.suffix}"
        choices = read_choices(path, stage)
        _check_inputs(path, stage, view)
        return [
            _verdict(path, stage, {c.id: c for c in choices.get(expression.id, [])}, view, e)
            for e, expression in enumerate(view.video.expressions)
        ]

    return method


def _verdict(path: Path, stage: Stage, known: Mapping[TrackId, Candidate], view: View, expression: int) -> Verdict:
    candidates = view.candidates(expression)
    if known.keys() != set(candidates):
        name = view.video.expressions[expression].id
        raise CacheError(f"{path}: holds other tracks of expression {name!r} than there are; {remedy(stage.name)}")
    mine = [known[track] for track in candidates]
    logits = np.array([c.score if c.final is None else c.final for c in mine], np.float64)
    return Verdict(logits, np.array([c.chosen for c in mine], bool) if stage is RERANK_TRACKS else None)


def _check_inputs(path: Path, stage: Stage, view: View) -> None:
    """Raises CacheError where a file was made from other inputs than those that are there now."""
    layout, ingredients = view.scorer.layout, read_stamp(path, stage.name).ingredients
    if stage is RERANK_TRACKS:
        current = ingredients.get("scores") == upstream(layout, SCORE_TRACKS, view.video.id)
    else:
        sources = [source for source, _, _ in view.tracks.sources]
        detector = ingredients.get("detector")
        seen = None if detector is None else Detector.model_validate(detector)
        current = ingredients.get("inputs") == dict(read_inputs(layout, [view.video], sources, seen).fingerprints)
    if not current:
        raise CacheError(f"{path}: was made from other files than there are now; {remedy(stage.name)}")


def _mix_of(job: Job, folder: Path) -> tuple[Source, ...]:
    """The sources whose tracks the score files cover."""
    config = read_stamp(_first_scores(job, folder), SCORE_TRACKS.name).ingredients.get("config", {})
    return tuple(config.get("selector.sources.evaluate", ()))


def _first_scores(job: Job, folder: Path) -> Path:
    path = next(iter(sorted(folder.rglob(f"*{SCORE_TRACKS.suffix}"))), None)
    if path is None:
        raise ValueError(
            f"{folder}: holds neither {BEST} nor score files; run `python -m stages.score_tracks --dataset "
            f"{job.dataset} --split {job.split}`, or give the place of a selector"
        )
    return path
