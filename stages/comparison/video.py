"""One video while methods are compared on it: its tracks read and decoded once, every answer scored once.

Legend: M tracks of a video (its sources end to end), N tracks of an expression.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.records import Expression, Source, Split, TrackId, Video
from stages.core.state.cache import CacheError, read_stamp, remedy
from stages.core.state.choices import Candidate, confidence
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS, Layout
from stages.core.state.prompt_file import read_prompts
from stages.core.state.track_file import read_columns, read_history, read_masks, read_membership
from stages.metrics import clips
from stages.metrics.clips import Clip
from stages.metrics.protocols import protocol_of
from stages.metrics.scene import Answer, Comparison
from stages.metrics.scoring import open_scene, score_answer
from stages.selectors.samples import VideoTracks, open_video

Row = dict[str, Any]


class VideoScorer:
    """Scores answers to a video's expressions, an answer being the union of some tracks."""

    def __init__(self, layout: Layout, split: Split, video: Video, sources: Sequence[Source], ratio: float) -> None:
        """
        Args:
            sources: of all tracks that answers are made of.
            ratio: `evaluate.boundary_ratio`.

        Raises:
            ValueError: a track file cannot be used, or masks do not fit the annotations.
        """
        self.layout, self.video, self.ratio = layout, video, ratio
        self.protocol = protocol_of(split.protocol)
        first = read_membership(layout.file(BUILD_TRACKS, video.id, sources[0]))
        self.scene = open_scene(split, video, first.size, first.shape[1])
        self.clips: dict[TrackId, Clip] = {}
        for source in sources:
            self._read(source)
        self._unions: dict[tuple[TrackId, ...], Clip] = {}
        self._scored: dict[tuple[str, tuple[TrackId, ...], float], tuple[Row, Answer, Comparison | None]] = {}

    def union(self, chosen: tuple[TrackId, ...]) -> Clip:
        """The tracks as one mask per frame; no tracks give empty masks."""
        if chosen not in self._unions:
            nothing = clips.empty(self.scene.n_frames, self.scene.size)
            self._unions[chosen] = functools.reduce(clips.union, [self.clips[track] for track in chosen], nothing)
        return self._unions[chosen]

    def score(self, expression: Expression, chosen: Sequence[Candidate]) -> tuple[Row, Answer, Comparison | None]:
        """The row that `stages.evaluate` writes for this choice, and what it was made from."""
        key = (expression.id, tuple(sorted(c.id for c in chosen)), confidence(chosen))
        if key not in self._scored:
            answer = Answer(expression, self.union(key[1]), key[2])
            try:
                row, comparison = score_answer(self.protocol, self.scene, answer, self.ratio, len(chosen))
            except ValueError as error:
                raise ValueError(f"video {self.video.id!r}, expression {expression.id!r}: {error}") from error
            named = {"video": self.video.id, "caption": expression.text, "group": expression.group}
            self._scored[key] = {**named, **row}, answer, comparison
        return self._scored[key]

    def outcome(self, expression: Expression, tracks: Sequence[TrackId], chosen_N: NDArray[np.bool_]) -> Row:
        """The row of answering with some of an expression's tracks."""
        chosen = [Candidate(*tracks[n], 0.0, chosen=True) for n in np.flatnonzero(chosen_N).tolist()]
        return self.score(expression, chosen)[0]

    def frames(self, expression: Expression) -> tuple[int, ...] | None:
        """The frames that count; None = all."""
        return self.scene.frames_holding(expression) if self.protocol.holding_only else self.scene.scored

    def _read(self, source: Source) -> None:
        path = self.layout.file(BUILD_TRACKS, self.video.id, source)
        membership = read_membership(path)
        if (membership.size, membership.shape[1]) != (self.scene.size, self.scene.n_frames):
            raise CacheError(
                f"{path}: {membership.shape[1]} frames of size {membership.size}; other files of this video hold "
                f"{self.scene.n_frames} of size {self.scene.size}; {remedy(BUILD_TRACKS.name)}"
            )
        for row, rles_T in enumerate(read_masks(path, range(membership.shape[0]))):
            self.clips[TrackId(source, row)] = clips.from_rles(rles_T, membership.size)


@dataclass(frozen=True)
class View:
    """A video as a method sees it: with the tracks of some sources.

    Attributes:
        tracks: the video's M tracks and which of them every expression chooses from.
        scorer: of its answers; only the oracle reads the truth in it.
    """

    tracks: VideoTracks
    scorer: VideoScorer

    @property
    def video(self) -> Video:
        return self.tracks.video

    def candidates(self, expression: int) -> list[TrackId]:
        """The expression's N tracks: source by source, then by track."""
        return [self.tracks.ids[row] for row in self.tracks.tracks_of(expression)]

    def areas_M(self) -> NDArray[np.float64]:
        """(M,) pixels of every track, summed over frames."""
        return np.array([self.scorer.clips[track].area.sum() for track in self.tracks.ids], np.float64)

    def detector(self, detector: Source) -> list[NDArray[np.float64]]:
        """For every expression (N,) a detector's score of the box that the track began with for it.

        −1 for tracks of other sources. Where expressions share a track, each has the score of its own box.

        Raises:
            CacheError: the prompts are not there any more, or are not those the tracks were made from.
        """
        score_of: dict[tuple[int, TrackId], float] = {}
        if detector in (source for source, _, _ in self.tracks.sources):
            score_of = _detector_scores(self.scorer.layout, self.video, detector)
        return [
            np.array([score_of.get((e, track), -1.0) for track in self.candidates(e)], np.float64)
            for e in range(len(self.video.expressions))
        ]


def _detector_scores(layout: Layout, video: Video, detector: Source) -> dict[tuple[int, TrackId], float]:
    """(expression, track) → the best score of the expression's prompts that the track serves."""
    path, made_from = (layout.file(stage, video.id, detector) for stage in (BUILD_TRACKS, GENERATE_PROMPTS))
    used = read_stamp(path, BUILD_TRACKS.name).ingredients.get("prompts")
    if used != read_stamp(made_from, GENERATE_PROMPTS.name).fingerprint:
        raise CacheError(f"{path}: was made from other prompts than {made_from}; {remedy(BUILD_TRACKS.name)}")
    prompts, history = read_prompts(made_from), read_history(path)
    track_of = {int(row): track for track, row in enumerate(read_columns(path, ["prompt_id"])["prompt_id"])}
    track_of |= {row: track_of[tracked] for row, tracked in (history.merged if history else ())}
    score_of: dict[tuple[int, TrackId], float] = {}
    for row, track in track_of.items():
        key = (prompts[row].expression, TrackId(detector, track))
        score_of[key] = max(score_of.get(key, 0.0), prompts[row].box_score)
    return score_of


def open_view(scorer: VideoScorer, sources: Sequence[Source]) -> View:
    """Raises CacheError where a track file does not fit the index."""
    return View(open_video(scorer.layout, scorer.video, sources), scorer)
