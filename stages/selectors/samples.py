"""From the cache to samples: a video's tracks are read once for all of its sentences.

A sentence is one of the video's expressions or, behind them, one of the statements that selectors are trained on; an
index `expression` of at least the number of expressions means a statement.

Legend: N tracks of an expression, M tracks of a video (its sources end to end), T frames, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.config.selector_sections import Detector
from stages.core.records import Expression, Source, TrackId, Video
from stages.core.state.cache import CacheError, remedy
from stages.core.state.graph import BUILD_TRACKS, ENCODE_TEXT, Layout
from stages.core.state.text_file import TextFeatures, read_text
from stages.core.state.track_file import Labels, Membership, read_columns, read_membership
from stages.prompting.detections import Detections, match_detections
from stages.selectors.batch import Sample, TrackFeatures
from stages.selectors.presence import COLUMNS, track_features


@dataclass(frozen=True)
class Loaded:
    """What is read of a video: its tracks, the features of its sentences in their order, and a detector's scores."""

    tracks: TrackFeatures
    text: list[TextFeatures]
    detections: Detections | None = None

    @property
    def n_bytes(self) -> int:
        detections = 0 if self.detections is None else 2 * self.detections.best_EM.nbytes
        return self.tracks.n_bytes + sum(text.words_WD.nbytes for text in self.text) + detections

    def detections_of(self, expression: int, rows_N: NDArray[np.integer]) -> NDArray[np.float32] | None:
        """(N, 2) best and mean score of some tracks; NaN for a statement, which no detector was asked for."""
        if self.detections is None:
            return None
        if expression >= len(self.detections.best_EM):
            return np.full((len(rows_N), 2), np.nan, np.float32)
        return np.stack([self.detections.best_EM[expression, rows_N], self.detections.mean_EM[expression, rows_N]], 1)


@dataclass(frozen=True)
class VideoTracks:
    """What is known of a video before a token is read: small enough to keep for a whole split.

    Attributes:
        layout: where the video's files are stored.
        sources: their names, track files and memberships, in the order of the config.
        detector: whose scores are read with the tracks; None = of none.
    """

    layout: Layout
    video: Video
    sources: tuple[tuple[Source, Path, Membership], ...]
    detector: Detector | None = None

    @property
    def text(self) -> Path:
        """Its text file."""
        return self.layout.file(ENCODE_TEXT, self.video.id)

    @property
    def sentences(self) -> tuple[Expression, ...]:
        """The expressions, then the statements."""
        return self.video.sentences

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the masks."""
        return self.sources[0][2].size

    @property
    def n_frames(self) -> int:
        return self.sources[0][2].shape[1]

    @cached_property
    def ids(self) -> list[TrackId]:
        """The ids of the video's M tracks."""
        return [TrackId(source, row) for source, _, membership in self.sources for row in range(membership.shape[0])]

    def tracks_of(self, expression: int) -> NDArray[np.int64]:
        """(N,) rows among the M that the expression chooses from, in source order, then by track index.

        A statement was never asked for, so it has no tracks of its own: its rows are those that serve all expressions.
        """
        parts, offset = [], 0
        for _, _, membership in self.sources:
            parts.append(np.sort(_members(membership, expression)).astype(np.int64) + offset)
            offset += membership.shape[0]
        return np.concatenate(parts)

    def iou_of(self, expression: int) -> NDArray[np.float32]:
        """(N,) the best mean IoU of each of `tracks_of` with any of the annotations referred to.

        Raises:
            ValueError: a track file holds no labels for an annotation that the expression refers to.
        """
        return self._iou_M(expression)[self.tracks_of(expression)]

    def labels_of(self, expression: int, positive_iou: float) -> NDArray[np.bool_]:
        """(N,) whether each of `tracks_of` is referred to; raises as `iou_of`."""
        return self.iou_of(expression) > positive_iou

    def best_annotation(self, expression: int, row: int) -> str:
        """The annotation referred to that a track of the M fits best; raises as `iou_of`."""
        keys = self.sentences[expression].annotations
        assert keys, "nothing is referred to"
        source, track = self.ids[row]
        path, membership = next((path, membership) for name, path, membership in self.sources if name == source)
        columns = [_column(path, membership.labels, key) for key in keys]
        assert membership.labels is not None
        return keys[int(membership.labels.iou_NA[track, columns].argmax())]

    def read(self) -> "Loaded":
        """What is cached of the M tracks and of the sentences; tokens are float32 where sources differ."""
        tracks = track_features([read_columns(path, COLUMNS) for _, path, _ in self.sources], self.size)
        return Loaded(tracks, read_text(self.text, self.video), self._detections())

    def samples(
        self,
        expressions: Sequence[int],
        positive_iou: float | None,
        loaded: "Loaded | None" = None,
        foreign: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Sample]:
        """Samples of some sentences, which share the tracks.

        Args:
            positive_iou: labels them; None leaves them unlabelled.
            loaded: what `read` returned, if it was called before.
            foreign: rows among the M that each expression gets besides its own.
        """
        loaded = loaded or self.read()
        samples = []
        for i, e in enumerate(expressions):
            rows_N = self.tracks_of(e) if foreign is None else np.concatenate([self.tracks_of(e), foreign[i]])
            text, detections_N2 = loaded.text[e], loaded.detections_of(e, rows_N)
            sample = Sample(loaded.tracks, rows_N, text.words_WD, text.mean_D, detections_N2=detections_N2)
            if positive_iou is not None:
                iou_N = self._iou_M(e)[rows_N]
                sample = replace(sample, iou_N=iou_N, labels_N=iou_N > positive_iou)
            samples.append(sample)
        return samples

    def _detections(self) -> Detections | None:
        if self.detector is None:
            return None
        return match_detections(self.layout, self.video, self.ids, self.detector.source, self.detector.match_iou)

    def _iou_M(self, expression: int) -> NDArray[np.float32]:
        keys = self.sentences[expression].annotations
        assert keys is not None, "expressions of unknown truth have no labels"
        return np.concatenate([_best_iou(path, membership, keys) for _, path, membership in self.sources])


def open_video(
    layout: Layout, video: Video, sources: Sequence[Source], detector: Detector | None = None
) -> VideoTracks:
    """Opens a video's track files.

    Args:
        detector: whose scores are read with the tracks; None = of none.

    Raises:
        CacheError: a file is missing, damaged, or made for other expressions; the message names it.
    """
    opened: list[tuple[Source, Path, Membership]] = []
    for source in sources:
        path = layout.file(BUILD_TRACKS, video.id, source)
        membership = read_membership(path)
        if len(membership.expression_tracks) != len(video.expressions):
            raise CacheError(f"{path}: holds other expressions than the index; {remedy(BUILD_TRACKS.name)}")
        if opened and opened[0][2].shape[1:] != membership.shape[1:]:
            raise CacheError(
                f"{path}: tokens (frames, channels) are {membership.shape[1:]}, but {opened[0][2].shape[1:]} in "
                f"{opened[0][1]}; {remedy(BUILD_TRACKS.name)}"
            )
        opened.append((source, path, membership))
    return VideoTracks(layout, video, tuple(opened), detector)


def _members(membership: Membership, expression: int) -> NDArray[np.int32]:
    """The tracks of one source that an expression chooses from; those of a statement serve all expressions."""
    own = membership.expression_tracks
    if expression < len(own):
        return own[expression]
    n_served = np.bincount(np.concatenate([np.zeros(0, np.int32), *own]), minlength=membership.shape[0])
    return np.flatnonzero(n_served == len(own)).astype(np.int32)


def _best_iou(path: Path, membership: Membership, keys: Sequence[str]) -> NDArray[np.float32]:
    """(tracks of one source,) the best mean IoU with any of the annotations; 0 where there is none."""
    n = membership.shape[0]
    if not keys or n == 0:
        return np.zeros(n, np.float32)
    columns = [_column(path, membership.labels, key) for key in keys]
    assert membership.labels is not None
    return membership.labels.iou_NA[:, columns].max(1)


def _column(path: Path, labels: Labels | None, key: str) -> int:
    if labels is None or key not in labels.annotations:
        raise CacheError(f"{path}: holds no labels for annotation {key!r}; {remedy(BUILD_TRACKS.name)}")
    return labels.annotations.index(key)
