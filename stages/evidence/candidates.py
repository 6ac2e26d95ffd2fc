"""What evidence is about: the tracks that every expression of a video may mean, and their state when it was gathered.

Evidence that uses scores is about the candidates of the score file. All other evidence is about the tracks of
`selector.sources.evaluate`, whatever a selector says of them, so that no selector is needed for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.records import Source, TrackId, Video
from stages.core.run.cli import Job
from stages.core.state.cache import CacheError, read_stamp, remedy
from stages.core.state.fingerprints import expressions_digest, upstream
from stages.core.state.graph import BUILD_TRACKS, GATHER_EVIDENCE, SCORE_TRACKS, Layout
from stages.core.state.track_file import read_membership
from stages.core.tables import EVIDENCE


def candidate_tracks(layout: Layout, video: Video, sources: Sequence[Source]) -> dict[str, list[TrackId]]:
    """Expression id → the tracks that it may mean, source by source, then by row: the candidates that scores have.

    Raises:
        CacheError: a track file is missing or damaged, or was made for other expressions.
    """
    tracks: dict[str, list[TrackId]] = {expression.id: [] for expression in video.expressions}
    for source in sources:
        path = layout.file(BUILD_TRACKS, video.id, source)
        rows_of = read_membership(path).expression_tracks
        if len(rows_of) != len(video.expressions):
            raise CacheError(f"{path}: holds other expressions than the index; {remedy(BUILD_TRACKS.name)}")
        for ids, rows in zip(tracks.values(), rows_of, strict=True):
            ids += [TrackId(source, int(row)) for row in sorted(rows)]
    return tracks


def subject(job: Job, name: str, video: Video) -> Mapping[str, Any]:
    """What a name of evidence is about, as ingredients of its file: the scores, or the tracks and the sentences."""
    settings = job.settings.evidence[name]
    if EVIDENCE[settings.kind].uses_scores(settings):
        return {"scores": upstream(job.layout, SCORE_TRACKS, video.id)}
    sources = job.settings.selector.sources.evaluate
    tracks = {source: upstream(job.layout, BUILD_TRACKS, video.id, source) for source in sources}
    return {"tracks": tracks, "expressions": expressions_digest(video)}


def current_evidence(job: Job, name: str, video: Video) -> str:
    """The fingerprint of a video's evidence of that name.

    Raises:
        CacheError: it is missing, or was gathered for other scores or tracks than there are now.
    """
    path = job.layout.file(GATHER_EVIDENCE, video.id, name)
    stamp = read_stamp(path, GATHER_EVIDENCE.name)
    for what, value in subject(job, name, video).items():
        if stamp.ingredients.get(what) != value:
            raise CacheError(
                f"{path}: was gathered for other {what} than there are now; run `python -m stages.gather_evidence "
                f"--name {name}` on its split again"
            )
    return stamp.fingerprint
