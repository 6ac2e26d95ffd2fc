"""The evidence file: what one name of evidence says about the tracks of one video (written by gather_evidence).

evidence/<name>/<video>.json:

    {"expressions": {id: {"existence": null, "provenance": {…}, "tracks": [
        {"source": "grid", "track": 3, "log_odds": 1.7, "provenance": {…}}, …]}}}

Log-odds are in nats: that the expression refers to the track, and that it refers to anything at all. Provenance is
what a kind wants people to know about a number: what was shown, and what was answered.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.records import TrackId
from stages.core.state.cache import CacheError, Stamp, read_json, read_stamp, remedy, write_json
from stages.core.state.graph import GATHER_EVIDENCE


@dataclass(frozen=True)
class TrackEvidence:
    """How well an expression fits a track, as log-odds, and where the number comes from (JSON values by name)."""

    track: TrackId
    log_odds: float
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExpressionEvidence:
    """What is known about an expression.

    Attributes:
        tracks: at most one entry per track; a track without one was not looked at.
        existence: log-odds that the expression refers to anything; None = not looked at.
        provenance: of all its numbers, as JSON values by name.
    """

    tracks: tuple[TrackEvidence, ...]
    existence: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def log_odds(self) -> dict[TrackId, float]:
        return {entry.track: entry.log_odds for entry in self.tracks}


# Expression id → what is known about it.
VideoEvidence = Mapping[str, ExpressionEvidence]


def write_evidence(path: Path, stamp: Stamp, evidence: VideoEvidence, history: Mapping[str, Any]) -> None:
    """Writes an evidence file.

    Raises:
        ValueError: a number is not finite, or a track is there twice; names the expression and the track.
    """
    for expression, known in evidence.items():
        if reason := _defect(known):
            raise ValueError(f"{path}: evidence on expression {expression!r}: {reason}; nothing is written")
    write_json(path, {"expressions": {e: _to_json(known) for e, known in evidence.items()}}, stamp, history)


def read_evidence(path: Path) -> dict[str, ExpressionEvidence]:
    """Reads an evidence file.

    Raises:
        CacheError: it is missing, damaged or of another layout version; names the file and the command.
    """
    document = read_json(path, GATHER_EVIDENCE.name, GATHER_EVIDENCE.version)
    try:
        evidence = {str(e): _from_json(raw) for e, raw in document["expressions"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CacheError(f"{path}: damaged ({error!r}); {remedy(GATHER_EVIDENCE.name)}") from error
    for expression, known in evidence.items():
        if reason := _defect(known):
            raise CacheError(f"{path}: damaged (expression {expression!r}: {reason}); {remedy(GATHER_EVIDENCE.name)}")
    return evidence


def asked_path(path: Path) -> Path:
    """Where a kind keeps the answers it has received while it makes the evidence file `path`.

    No video's file has that name: no part of an id begins with a dot.
    """
    return path.with_name(f".{path.stem}.asked{path.suffix}")


def drop_asked(path: Path) -> None:
    """Removes what was kept while `path` was made, if that is finished: a job may be killed between the two."""
    asked = asked_path(path)
    if not (asked.exists() and path.exists()):
        return
    try:
        finished, kept = (read_stamp(file, GATHER_EVIDENCE.name).fingerprint for file in (path, asked))
    except CacheError:
        return  # whoever makes the file again says what is damaged
    if finished == kept:
        asked.unlink()


def _defect(known: ExpressionEvidence) -> str:
    """Why an expression's evidence cannot be used; "" where it can."""
    if known.existence is not None and not math.isfinite(known.existence):
        return f"existence is {known.existence}, not finite"
    for source, track in (entry.track for entry in known.tracks if not math.isfinite(entry.log_odds)):
        return f"the log-odds of {source} track {track} are not finite"
    return "" if len(known.log_odds) == len(known.tracks) else "a track is there twice"


def _to_json(known: ExpressionEvidence) -> dict[str, Any]:
    tracks = [
        {**entry.track._asdict(), "log_odds": entry.log_odds, "provenance": entry.provenance} for entry in known.tracks
    ]
    return {"existence": known.existence, "provenance": known.provenance, "tracks": tracks}


def _from_json(raw: Mapping[str, Any]) -> ExpressionEvidence:
    tracks = tuple(
        TrackEvidence(TrackId(str(entry["source"]), int(entry["track"])), float(entry["log_odds"]), entry["provenance"])
        for entry in raw["tracks"]
    )
    existence = raw["existence"]
    return ExpressionEvidence(tracks, None if existence is None else float(existence), raw["provenance"])
