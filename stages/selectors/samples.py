"""From the cache to samples: a video's tracks are read once for all of its expressions.

Legend: N tracks of an expression, M tracks of a video (its sources end to end), T frames, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.cache import CacheError, mend
from stages.core.graph import BUILD_TRACKS, ENCODE_TEXT, Layout
from stages.core.records import Source, Video
from stages.core.text_file import read_text
from stages.core.track_file import Labels, Membership, read_membership, read_tokens
from stages.selectors.batch import Sample

# A track by where it lies: its source and its row in that source's file.
Origin = tuple[Source, int]


@dataclass(frozen=True)
class VideoTracks:
    """What is known of a video before a token is read: small enough to keep for a whole split.

    Attributes:
        sources: their names, track files and memberships, in the order of the config.
    """

    video: Video
    sources: tuple[tuple[Source, Path, Membership], ...]
    text: Path

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the masks."""
        return self.sources[0][2].size

    @property
    def n_frames(self) -> int:
        return self.sources[0][2].shape[1]

    @cached_property
    def origins(self) -> list[Origin]:
        """Of the video's M tracks."""
        return [(source, row) for source, _, membership in self.sources for row in range(membership.shape[0])]

    def tracks_of(self, expression: int) -> NDArray[np.int64]:
        """(N,) rows among the M that the expression chooses from, in source order, then by track index."""
        parts, offset = [], 0
        for _, _, membership in self.sources:
            parts.append(np.sort(membership.expression_tracks[expression]).astype(np.int64) + offset)
            offset += membership.shape[0]
        return np.concatenate(parts)

    def labels_of(self, expression: int, positive_iou: float) -> NDArray[np.bool_]:
        """(N,) whether each of `tracks_of` is referred to.

        Raises:
            ValueError: a track file holds no labels for an annotation that the expression refers to.
        """
        keys = self.video.expressions[expression].annotations
        assert keys is not None, "expressions of unknown truth have no labels"
        best_M = np.concatenate([_best_iou(path, found, keys) for _, path, found in self.sources])
        return best_M[self.tracks_of(expression)] > positive_iou

    def read_tokens(self) -> NDArray[np.floating]:
        """(M, T, C), float32 where the sources differ in precision."""
        return np.concatenate([read_tokens(path) for _, path, _ in self.sources])

    def samples(self, expressions: Sequence[int], positive_iou: float | None) -> list[Sample]:
        """Samples of some expressions, which share the tokens; labelled where `positive_iou` is given."""
        tokens_MTC, text = self.read_tokens(), read_text(self.text, self.video)
        return [
            Sample(
                tokens_MTC=tokens_MTC,
                rows_N=self.tracks_of(e),
                words_WD=text[e].words_WD,
                mean_D=text[e].mean_D,
                labels_N=None if positive_iou is None else self.labels_of(e, positive_iou),
            )
            for e in expressions
        ]


def open_video(layout: Layout, video: Video, sources: Sequence[Source]) -> VideoTracks:
    """Opens a video's track files.

    Raises:
        CacheError: a file is missing, damaged, or made for other expressions; the message names it.
    """
    found: list[tuple[Source, Path, Membership]] = []
    for source in sources:
        path = layout.file(BUILD_TRACKS, video.id, source)
        membership = read_membership(path)
        if len(membership.expression_tracks) != len(video.expressions):
            raise CacheError(f"{path}: holds other expressions than the index; {mend(BUILD_TRACKS.name)}")
        if found and found[0][2].shape[1:] != membership.shape[1:]:
            raise CacheError(
                f"{path}: tokens (frames, channels) are {membership.shape[1:]}, but {found[0][2].shape[1:]} in "
                f"{found[0][1]}; {mend(BUILD_TRACKS.name)}"
            )
        found.append((source, path, membership))
    return VideoTracks(video, tuple(found), layout.file(ENCODE_TEXT, video.id))


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
        raise CacheError(f"{path}: holds no labels for annotation {key!r}; {mend(BUILD_TRACKS.name)}")
    return labels.annotations.index(key)
