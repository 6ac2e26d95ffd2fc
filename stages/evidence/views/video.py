"""A video of the cache as views may see it.

Legend: N candidates, T frames.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Rle, Source, TrackId
from stages.core.state.cache import remedy
from stages.core.state.frames import open_frames
from stages.core.state.graph import BUILD_TRACKS, SCORE_TRACKS, Layout
from stages.core.state.track_file import Column, read_columns, read_masks
from stages.evidence.frames.sightings import Sightings, visible
from stages.evidence.views.scene import Scene

COLUMNS: tuple[Column, ...] = ("obj_ptr", "score", "iou", "area", "bbox", "prompt_frame")
FRAMES_KEPT = 16


class VideoView:
    """Reads what is asked for, once.

    Args:
        video: its id.
    """

    def __init__(self, layout: Layout, video: str) -> None:
        self.layout, self.video = layout, video
        self.frames = open_frames(layout, video)
        self.tracks: dict[Source, Mapping[Column, NDArray[Any]]] = {}
        self.rles: dict[TrackId, list[Rle]] = {}
        self.frame = lru_cache(maxsize=FRAMES_KEPT)(self.frames.load)

    @property
    def whole(self) -> range:
        """All frames."""
        return range(len(self.frames))

    def sightings(self, tracks: Sequence[TrackId]) -> Sightings:
        """Of at least one track.

        Raises:
            ValueError: the scores name a track that is not there, or frames and tracks differ in number.
        """
        from stages.selectors.presence import measured_presence  # late: selectors import torch

        columns = {name: self._stacked(tracks, name) for name in COLUMNS if name != "bbox"}
        prompted_NT = np.arange(len(self.frames))[None] == columns["prompt_frame"][:, None]
        object_NT = measured_presence(columns["score"].astype(np.float32), prompted_NT)
        visible_NT = visible(columns["score"], columns["area"], self.frames.size)
        return Sightings(object_NT, columns["iou"], columns["area"], visible_NT, columns["obj_ptr"])

    def is_seen(self, track: TrackId) -> bool:
        """Whether a track is visible in any frame."""
        score_1T, area_1T = (self._stacked([track], name) for name in ("score", "area"))
        return bool(visible(score_1T, area_1T, self.frames.size).any())

    def scene(self, tracks: Sequence[TrackId], window: range | None = None) -> Scene:
        """What views draw from: the tracks as candidates, in this order, in all frames or a stretch of them.

        Raises:
            ValueError: as `sightings`.
        """
        window = self.whole if window is None else window
        seen = self.sightings(tracks).within(window)
        boxes_NT4 = self._stacked(tracks, "bbox")[:, window.start : window.stop].astype(np.float32)
        return Scene(
            size=self.frames.size,
            names=self.frames.names[window.start : window.stop],
            boxes_NT4=boxes_NT4,
            visible_NT=seen.visible_NT,
            area_NT=seen.area_NT,
            object_NT=seen.object_NT,
            frame=lambda t: self.frame(window[t]),
            mask=lambda n, t: masks.decode(self._rles_of(tracks[n])[window[t]]),
        )

    def _stacked(self, tracks: Sequence[TrackId], name: Column) -> NDArray[Any]:
        """A column of the tracks' files, row by row."""
        rows = []
        for source, row in tracks:
            column = self._tracks_of(source)[name]
            if row >= len(column):
                raise ValueError(
                    f"{self._path(source)}: has {len(column)} tracks, the scores name row {row}; {remedy(SCORE_TRACKS.name)}"
                )
            rows.append(column[row])
        return np.stack(rows)

    def _path(self, source: Source) -> Path:
        return self.layout.file(BUILD_TRACKS, self.video, source)

    def _tracks_of(self, source: Source) -> Mapping[Column, NDArray[Any]]:
        if source not in self.tracks:
            tracks = read_columns(self._path(source), COLUMNS)
            n_tracks, n_frames = tracks["score"].shape
            if n_tracks and n_frames != len(self.frames):
                raise ValueError(
                    f"{self._path(source)}: tracks of {n_frames} frames, the video has "
                    f"{len(self.frames)}; {remedy(BUILD_TRACKS.name)}"
                )
            self.tracks[source] = tracks
        return self.tracks[source]

    def _rles_of(self, track: TrackId) -> list[Rle]:
        if track not in self.rles:
            source, row = track
            self.rles[track] = read_masks(self._path(source), [row])[0]
        return self.rles[track]
