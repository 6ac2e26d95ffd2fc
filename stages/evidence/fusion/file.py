"""fusion.json: a fitted fusion, what it was fitted to, and its report (written by fit_fusion).

    {"fitted_on": "shapes/dev", "selector": id, "evidence": [names], "bias": …, "weights": {column: weight},
     "same_iou": …, "rule": {"kind": …, parameters}, "report": {…}}

The report has the figures with everything and without each source, how much each column moves S (its weight times its
standard deviation), and the numbers of videos, sentences and tracks.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.core.state.cache import CacheError, Stamp, read_json, read_stamp, remedy, write_json
from stages.core.state.graph import FIT_FUSION
from stages.evidence.fusion.decide import Fusion
from stages.evidence.fusion.fit import Fitted


@dataclass(frozen=True)
class FusionFile:
    """A fitted fusion and what it is good for.

    Attributes:
        fitted_on: <dataset>/<split>.
        selector: id of the selector whose scores it was fitted to; None = not known.
        evidence: names, sorted.
        fingerprint: of the file.
    """

    fusion: Fusion
    fitted_on: str
    selector: str | None
    evidence: tuple[str, ...]
    fingerprint: str


def write_fusion(
    path: Path, stamp: Stamp, fitted: Fitted, fitted_on: str, selector: str | None, evidence: Sequence[str]
) -> None:
    document = {
        "fitted_on": fitted_on,
        "selector": selector,
        "evidence": sorted(evidence),
        **fitted.fusion.to_json(),
        "report": report_of(fitted),
    }
    write_json(path, document, stamp)


def read_fusion(path: Path) -> FusionFile:
    """Raises CacheError where the file is missing or cannot be used."""
    document = read_json(path, FIT_FUSION.name, FIT_FUSION.version)
    fingerprint = read_stamp(path, FIT_FUSION.name).fingerprint
    try:
        rule = dict(document["rule"])
        weights = {str(name): float(weight) for name, weight in document["weights"].items()}
        fusion = Fusion(float(document["bias"]), weights, document["same_iou"], str(rule.pop("kind")), rule)
        evidence = tuple(document["evidence"])
        return FusionFile(fusion, document["fitted_on"], document["selector"], evidence, fingerprint)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CacheError(f"{path}: damaged ({error!r}); {remedy(FIT_FUSION.name)}") from error


def report_of(fitted: Fitted) -> dict[str, Any]:
    return {
        "strength": fitted.strength,
        "moves": fitted.moves,
        "with_all": asdict(fitted.figures),
        "without": {source: asdict(figures) for source, figures in fitted.without.items()},
        "videos": fitted.n_videos,
        "sentences": fitted.n_sentences,
        "tracks": fitted.n_tracks,
        "positive_tracks": fitted.n_positive,
    }
