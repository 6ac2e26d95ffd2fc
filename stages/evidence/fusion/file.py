"""fusion.json: a fitted fusion, what it was fitted to, and its report (written by fit_fusion).

    {"fitted_on": "shapes/dev", "selector": id, "evidence": [names], "objective": …, "bias": …,
     "weights": {column: weight}, "same_iou": …, "rule": {"kind": …, parameters}, "report": {…}}

In the cache it also has a stamp. `export` writes it without one, for `rerank.fusion_file`.

The report has the figures with everything and without each source, how much each column moves S (its weight times its
standard deviation), and the numbers of videos, sentences and tracks.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.core.config.sections import Rerank
from stages.core.digests import digest
from stages.core.state.cache import CONTENT, CacheError, Stamp, read_json, read_stamp, remedy, write_json
from stages.core.state.graph import FIT_FUSION
from stages.core.tables import RULES
from stages.evidence.fusion.decide import Fusion
from stages.evidence.fusion.features import Inputs
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
    path: Path, stamp: Stamp, fitted: Fitted, fitted_on: str, selector: str | None, rerank: Rerank
) -> None:
    document = {
        "fitted_on": fitted_on,
        "selector": selector,
        "evidence": sorted(rerank.evidence),
        "objective": rerank.objective,
        **fitted.fusion.to_json(),
        "report": report_of(fitted),
    }
    write_json(path, document, stamp)


def read_fusion(path: Path) -> FusionFile:
    """The fusion of a split, from the cache; raises CacheError where the file is missing or cannot be used."""
    document = read_json(path, FIT_FUSION.name, FIT_FUSION.version)
    fingerprint = read_stamp(path, FIT_FUSION.name).fingerprint
    try:
        return _parsed(document, fingerprint)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CacheError(f"{path}: damaged ({error!r}); {remedy(FIT_FUSION.name)}") from error


def export(path: Path, out: Path) -> dict[str, Any]:
    """Writes the fusion of a split, as it is in the cache, to a file of its own; returns what it holds."""
    document = read_json(path, FIT_FUSION.name, FIT_FUSION.version)
    own = {key: value for key, value in document.items() if key not in ("stamp", CONTENT)}
    write_json(out, own)
    return own


def read_exported(path: Path) -> FusionFile:
    """The fusion of `rerank.fusion_file`; raises ValueError where it is missing, or no fusion of this program."""
    how = "a fusion is written by `referee fit-fusion --out FILE`; or set rerank.fusion_file: null"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return _parsed(document, digest(document))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: does not exist (rerank.fusion_file); {how}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # json's and Unicode's are ValueErrors
        raise ValueError(f"{path}: is not a fusion ({error!r}); {how}") from error


def _parsed(document: Mapping[str, Any], fingerprint: str) -> FusionFile:
    """Raises KeyError, TypeError, ValueError or AttributeError where it is not what `write_fusion` writes."""
    rule = {str(key): value for key, value in document["rule"].items()}
    kind, evidence = str(rule.pop("kind")), tuple(str(name) for name in document["evidence"])
    weights = {str(name): float(weight) for name, weight in document["weights"].items()}
    same_iou = None if document["same_iou"] is None else float(document["same_iou"])
    fusion = Fusion(float(document["bias"]), weights, same_iou, kind, {key: float(rule[key]) for key in rule})
    if unknown := weights.keys() - set(Inputs(evidence, evidence, behind=True, looks=True).columns):
        raise ValueError(f"weights of {sorted(unknown)}, but its evidence is {list(evidence)}")
    if kind not in RULES or rule.keys() != RULES[kind].settings.model_fields.keys():
        raise ValueError(f"no rule {kind!r} with {sorted(rule)}")
    if not all(map(math.isfinite, (fusion.bias, *weights.values(), *fusion.parameters.values()))):
        raise ValueError("numbers that are not finite")
    _, _ = document["fitted_on"].split("/")
    return FusionFile(fusion, document["fitted_on"], document["selector"], evidence, fingerprint)


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
