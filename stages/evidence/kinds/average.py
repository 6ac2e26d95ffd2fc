"""Kind `average`: the mean of several runs of evidence, over views, prompts, frames, models or seeds.

Runs err in different places, so their mean is calmer than any of them. A run whose answer was off its format (too little
probability on the options it was asked for) says nothing and is left out, answer by answer; how often that was is in the
provenance, and each run stays beside the mean there. Weights are equal, or fitted to the split that fusions are fitted to.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from stages.core.config.section import Section, Unit
from stages.core.records import TrackId, Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, VideoEvidence, read_evidence
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.tables import EvidenceKind, Gather
from stages.evidence.candidates import current_evidence
from stages.evidence.fusion.average import fitted_digest, fitted_weights

MASS, SAME_AS = "mass", "same_as"  # in the provenance of what an MLLM said


class AverageSettings(Section):
    """Whose mean it is."""

    of: list[str] = Field(min_length=2, description="Names of `evidence`: the runs")
    drop_invalid: bool = Field(description="Whether answers off their format are left out of the mean")
    min_mass: Unit = Field(description="An answer with less probability than this on its options is off its format")
    weights: Literal["equal", "fitted"] = Field(
        description="equal, or fitted to the split that fusions are fitted to (rerank.fit_on); none is below 0"
    )

    @field_validator("of")
    @classmethod
    def _once(cls, of: list[str]) -> list[str]:
        if len(set(of)) < len(of):
            raise ValueError(f"{of} names a run twice")
        return of


@dataclass(frozen=True)
class Run:
    """What one run says of one thing, and whether it was said in the format."""

    log_odds: float
    valid: bool


# Name → what that run says; a run that says nothing is not there.
Runs = Mapping[str, Run]


def mean(runs: Runs, weights: Mapping[str, float]) -> float | None:
    """The weighted mean over valid runs; None where there is none, or all of them weigh nothing."""
    valid = [name for name in sorted(runs) if runs[name].valid]
    total = math.fsum(weights[name] for name in valid)
    return math.fsum(weights[name] * runs[name].log_odds for name in valid) / total if total > 0 else None


def average(
    gathered: Mapping[str, ExpressionEvidence], weights: Mapping[str, float], min_mass: float
) -> ExpressionEvidence:
    """The mean of what several runs say of an expression.

    Args:
        gathered: name → what it says.
        weights: of the same names.
        min_mass: below it an answer is not valid; 0 = all are.
    """
    runs_of: dict[TrackId, dict[str, Run]] = {}
    for name, known in gathered.items():
        for entry in known.tracks:
            valid = _is_valid(_masses_of(entry, known), min_mass)
            runs_of.setdefault(entry.track, {})[name] = Run(entry.log_odds, valid)
    existence = {
        name: Run(known.existence, _is_valid(_masses(known.provenance), min_mass))
        for name, known in gathered.items()
        if known.existence is not None
    }
    means = {track: mean(runs, weights) for track, runs in runs_of.items()}
    tracks = tuple(
        TrackEvidence(track, value, _provenance(runs_of[track])) for track, value in means.items() if value is not None
    )
    dropped = {
        name: sum(name in runs and not runs[name].valid for runs in [*runs_of.values(), existence]) for name in gathered
    }
    said = {"weights": dict(weights), "dropped": dropped, "existence": _provenance(existence)}
    return ExpressionEvidence(tracks, mean(existence, weights), said)


def _provenance(runs: Runs) -> dict[str, Any]:
    dropped = sorted(name for name in runs if not runs[name].valid)
    return {"runs": {name: run.log_odds for name, run in sorted(runs.items())}, "dropped": dropped}


def _masses_of(entry: TrackEvidence, known: ExpressionEvidence) -> list[float]:
    """The mass of the answers that a number came from: its own, its twin's, or those about all candidates."""
    provenance = entry.provenance
    if SAME_AS in provenance:
        twin = TrackId(**provenance[SAME_AS])
        provenance = next((other.provenance for other in known.tracks if other.track == twin), {})
    return _masses(provenance) or _masses(known.provenance)


def _masses(value: Any) -> list[float]:
    """Every mass in a provenance."""
    if isinstance(value, Mapping):
        own = [float(value[MASS])] if isinstance(value.get(MASS), int | float) else []
        return own + _masses(list(value.values()))
    return [mass for item in value for mass in _masses(item)] if isinstance(value, list | tuple) else []


def _is_valid(masses: Sequence[float], min_mass: float) -> bool:
    return not masses or math.fsum(masses) / len(masses) >= min_mass


def _weights(job: Job, settings: AverageSettings) -> dict[str, float]:
    if settings.weights == "equal":
        return dict.fromkeys(settings.of, 1 / len(settings.of))
    return fitted_weights(job, settings.of)


def _ingredients(job: Job, settings: AverageSettings, video: Video) -> Mapping[str, Any]:
    _check_names(settings.of, job.settings.evidence)
    of = {name: current_evidence(job, name, video) for name in settings.of}
    return {"of": of, "fitted": None if settings.weights == "equal" else fitted_digest(job, settings.of)}


def _check_names(of: Iterable[str], known: Mapping[str, Any]) -> None:
    for name in of:
        if name not in known:
            raise ValueError(f"an average is over names of `evidence`; there is no {name!r} in {sorted(known)}")


def _load(job: Job, settings: AverageSettings, device: str) -> Gather:
    weights = _weights(job, settings)
    min_mass = settings.min_mass if settings.drop_invalid else 0.0

    def gather(video: Video, path: Path, stamp: Stamp) -> VideoEvidence:
        gathered = {name: read_evidence(job.layout.file(GATHER_EVIDENCE, video.id, name)) for name in settings.of}
        return {
            expression.id: average(
                {name: known[expression.id] for name, known in gathered.items() if expression.id in known},
                weights,
                min_mass,
            )
            for expression in video.expressions
            if expression.has_word
        }

    return gather


def _tasks(settings: AverageSettings) -> tuple[str, ...]:
    return tuple(GATHER_EVIDENCE.task(name) for name in settings.of)


KIND = EvidenceKind(
    name="average",
    settings=AverageSettings,
    roles=(),
    uses_scores=lambda _: False,
    ingredients=_ingredients,
    load=_load,
    tasks=_tasks,
    fitted_to=lambda settings: _tasks(settings) if settings.weights == "fitted" else (),
)
