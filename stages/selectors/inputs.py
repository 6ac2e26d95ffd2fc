"""What a selector is trained on: fingerprints of track, text and prompt files, and the weights behind them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.config.selector_sections import Detector
from stages.core.digests import digest
from stages.core.records import Source, Video
from stages.core.state.cache import CacheError, Stamp, read_stamp, remedy
from stages.core.state.graph import BUILD_TRACKS, ENCODE_TEXT, GENERATE_PROMPTS, Layout
from stages.core.tables import SOURCES


@dataclass(frozen=True)
class Inputs:
    """Fingerprints by file, and role → id of the weights that made tokens (sam2), features (text) and detections."""

    fingerprints: Mapping[str, str]
    weights: Mapping[str, str]

    @property
    def digest(self) -> str:
        return digest(self.fingerprints)


def read_inputs(
    layout: Layout, videos: Iterable[Video], sources: Sequence[Source], detector: Detector | None = None
) -> Inputs:
    """The stamps of all files that some videos are read from: their prompts only where a detector's scores are read.

    Raises:
        CacheError: a file is missing (the message names it and the stage that makes it), or files were
            made with different weights.
    """
    fingerprints: dict[str, str] = {}
    weights: dict[str, str] = {}
    for video in videos:
        for path, stage, roles in _files(layout, video, sources, detector):
            stamp = read_stamp(path, stage)
            fingerprints[str(path.relative_to(layout.cache))] = stamp.fingerprint
            for role in roles:
                _join(weights, role, weights_id_of(stamp, role, path), path)
    return Inputs(fingerprints, weights)


def join_all(parts: Sequence[tuple[Inputs, str]]) -> Inputs:
    """Several inputs as one; raises CacheError where they were made with different weights."""
    fingerprints: dict[str, str] = {}
    weights: dict[str, str] = {}
    for inputs, where in parts:
        fingerprints |= inputs.fingerprints
        for role, identifier in inputs.weights.items():
            _join(weights, role, identifier, where)
    return Inputs(fingerprints, weights)


def weights_id_of(stamp: Stamp, role: str, path: Path) -> str:
    """The id of the weights that made a file, from its stamp."""
    identifier = stamp.ingredients.get("weights", {}).get(role)
    if not isinstance(identifier, str):
        raise CacheError(f"{path}: does not say which {role} weights made it; {remedy(stamp.stage)}")
    return identifier


def _files(
    layout: Layout, video: Video, sources: Sequence[Source], detector: Detector | None
) -> list[tuple[Path, str, tuple[str, ...]]]:
    """Each file, the stage that makes it, and the roles of the models behind it."""
    files: list[tuple[Path, str, tuple[str, ...]]] = []
    files += [(layout.file(BUILD_TRACKS, video.id, source), BUILD_TRACKS.name, ("sam2",)) for source in sources]
    files.append((layout.file(ENCODE_TEXT, video.id), ENCODE_TEXT.name, ("text",)))
    if detector is not None:
        prompts = layout.file(GENERATE_PROMPTS, video.id, detector.source)
        files.append((prompts, GENERATE_PROMPTS.name, SOURCES[detector.source].roles))
    return files


def _join(weights: dict[str, str], role: str, identifier: str, where: Path | str) -> None:
    if weights.setdefault(role, identifier) != identifier:
        raise CacheError(
            f"{where}: made with {role} weights {identifier}, other files with {weights[role]}: a selector needs "
            "one set of weights; make the older files again"
        )
