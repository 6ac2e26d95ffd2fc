"""Scores and decisions: which tracks of a video an expression may mean, and which were chosen.

Two JSON files per video. scores/<video>.json (score_tracks): {"expressions": {id: [candidate, …]}, "threshold": the
probability above which the selector recommends to choose a track}; decisions/<video>.json (rerank_tracks): the same
with `evidence`, `final` and `chosen` filled in, the probability below which nothing is chosen, and "why": how the
decisions were made (stages/evidence/fusion/reading.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stages.core.media import masks
from stages.core.records import Rle, Source, TrackId, Video
from stages.core.state.cache import CacheError, Stamp, read_json, remedy, write_json
from stages.core.state.graph import BUILD_TRACKS, RERANK_TRACKS, SCORE_TRACKS, Layout, Stage
from stages.core.state.track_file import read_masks

IMPORTED = "imported"  # ingredient of the stamp of decisions that are another system's (stages/exchange/importing.py)


@dataclass(frozen=True)
class Candidate:
    """One track that an expression may mean.

    Attributes:
        source, track: the track file, and the row in it.
        score: the selector's logit.
        evidence: name of evidence → log-odds that the expression refers to it; a name is missing where nothing is known.
        final: what was compared with the threshold; None = not decided yet.
        chosen: part of the answer.
    """

    source: Source
    track: int
    score: float
    evidence: Mapping[str, float] = field(default_factory=dict, hash=False)
    final: float | None = None
    chosen: bool = False

    @property
    def id(self) -> TrackId:
        return TrackId(self.source, self.track)


# Expression id → its candidates.
Choices = Mapping[str, Sequence[Candidate]]


def write_choices(
    path: Path,
    stamp: Stamp,
    choices: Choices,
    threshold: float | None = None,
    history: Mapping[str, Any] | None = None,
    why: Mapping[str, Any] | None = None,
) -> None:
    """Writes a file of scores or decisions; decisions of another system have neither threshold nor reasons."""
    document = {expression: [asdict(c) for c in candidates] for expression, candidates in choices.items()}
    beside = {"threshold": threshold, "why": why}
    present = {name: value for name, value in beside.items() if value is not None}
    write_json(path, {"expressions": document, **present}, stamp, history)


def read_choices(path: Path, stage: Stage) -> dict[str, list[Candidate]]:
    """Reads a file of `stage` (SCORE_TRACKS or RERANK_TRACKS); raises CacheError where it cannot be used."""
    return _choices_of(read_json(path, stage.name, stage.version), path, stage)


def _choices_of(document: Mapping[str, Any], path: Path, stage: Stage) -> dict[str, list[Candidate]]:
    try:
        return {e: [_candidate(c) for c in candidates] for e, candidates in document["expressions"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise CacheError(f"{path}: damaged ({error!r}); {remedy(stage.name)}") from error


def _candidate(raw: Mapping[str, Any]) -> Candidate:
    """Raises TypeError where a value is of another type than it was written with."""
    candidate = Candidate(**raw)
    numbers = [candidate.score, *candidate.evidence.values(), *([] if candidate.final is None else [candidate.final])]
    if not (
        isinstance(candidate.source, str)
        and type(candidate.track) is int
        and isinstance(candidate.chosen, bool)
        and all(type(number) in (int, float) for number in numbers)
    ):
        raise TypeError(f"no candidate: {raw}")
    return candidate


def read_scores(layout: Layout, video: Video) -> dict[str, list[Candidate]]:
    """The scores of a video; raises CacheError where there are none for one of its expressions."""
    path = layout.file(SCORE_TRACKS, video.id)
    choices = read_choices(path, SCORE_TRACKS)
    if missing := [expression.id for expression in video.expressions if expression.id not in choices]:
        raise CacheError(f"{path}: holds no scores for expressions {missing}; {remedy(SCORE_TRACKS.name)}")
    return choices


def read_threshold(path: Path) -> float:
    """The threshold that the selector of a score file recommends; raises CacheError where it cannot be used."""
    document = read_json(path, SCORE_TRACKS.name, SCORE_TRACKS.version)
    threshold = document.get("threshold")
    if not isinstance(threshold, float):
        raise CacheError(f"{path}: holds no threshold; {remedy(SCORE_TRACKS.name)}")
    return threshold


def read_answers(path: Path, video: Video) -> dict[str, list[Candidate] | None]:
    """The decisions on all expressions of a video, in its order, in one reading.

    None = not predicted: an import left the expression out. rerank_tracks leaves nothing out.

    Raises:
        CacheError: the file cannot be used, lacks an expression that it should decide, or decides about others.
    """
    document = read_json(path, RERANK_TRACKS.name, RERANK_TRACKS.version)
    choices = _choices_of(document, path, RERANK_TRACKS)
    ids = [expression.id for expression in video.expressions]
    missing = [] if IMPORTED in document["stamp"]["ingredients"] else [e for e in ids if e not in choices]
    if missing:
        raise CacheError(f"{path}: holds no decision for expression {missing[0]!r}; {remedy(RERANK_TRACKS.name)}")
    if unknown := sorted(choices.keys() - set(ids)):
        raise CacheError(f"{path}: decides about expressions {unknown}, which the data set does not hold")
    return {identifier: choices.get(identifier) for identifier in ids}


def confidence(candidates: Sequence[Candidate]) -> float:
    """Sigmoid of the best chosen track's final score; 0 where none was chosen."""
    from scipy.special import expit  # late: `--help` need not wait for scipy

    finals = [c.score if c.final is None else c.final for c in candidates if c.chosen]
    if not finals:
        return 0.0
    return float(expit(max(finals)))


def predicted_masks(
    layout: Layout, video: str, candidates: Sequence[Candidate], size: tuple[int, int], n_frames: int
) -> list[Rle]:
    """The answer to one expression: per frame the union of its chosen tracks' masks.

    Returns:
        `n_frames` RLEs of `size` = (height, width); all empty where no track was chosen.
    """
    chosen: dict[Source, list[int]] = {}
    for candidate in candidates:
        if candidate.chosen:
            chosen.setdefault(candidate.source, []).append(candidate.track)
    tracks = [
        rles_T
        for source, rows in chosen.items()
        for rles_T in read_masks(layout.file(BUILD_TRACKS, video, source), rows)
    ]
    return [masks.union([rles_T[t] for rles_T in tracks], size) for t in range(n_frames)]
