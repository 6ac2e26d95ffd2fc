"""One video as a model may see it: how its tracks are seen, and the frames with candidates drawn on them.

Legend: N candidates, T frames.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Rle, Source, TrackId
from stages.core.state.frames import open_frames
from stages.core.state.graph import BUILD_TRACKS, Layout
from stages.core.state.track_file import Column, read_columns, read_masks
from stages.evidence.questions import Picture
from stages.evidence.views.keyframes import Sightings, visible
from stages.evidence.views.numbered import draw_outlined

PICTURES_KEPT = 64


class VideoView:
    """Reads what is asked for, once.

    Args:
        video: its id.
        side: longest side of the pictures in pixels.
    """

    def __init__(self, layout: Layout, video: str, side: int) -> None:
        self.layout, self.video, self.side = layout, video, side
        self.frames = open_frames(layout, video)
        self.tracks: dict[Source, Mapping[Column, NDArray[Any]]] = {}
        self.rles: dict[TrackId, list[Rle]] = {}
        self.picture = lru_cache(maxsize=PICTURES_KEPT)(self._draw)

    def sightings(self, tracks: Sequence[TrackId]) -> Sightings:
        """Of at least one track.

        Raises:
            ValueError: the scores name a track that is not there, or frames and tracks differ in number.
        """
        files = [(self._tracks_of(source), row) for source, row in tracks]
        for (file, row), (source, _) in zip(files, tracks, strict=True):
            if row >= len(file["score"]):
                raise ValueError(
                    f"{self._path(source)}: has {len(file['score'])} tracks, the scores name row {row}; run score_tracks again"
                )

        def stack(name: Column) -> NDArray[Any]:
            return np.stack([file[name][row] for file, row in files])

        object_NT, area_NT = stack("score"), stack("area")
        return Sightings(object_NT, stack("iou"), area_NT, visible(object_NT, area_NT, self.frames.size))

    def pictures(self, keyframes: Sequence[int], tracks: Sequence[TrackId]) -> tuple[Picture, ...]:
        """The keyframes with the tracks outlined as numbers 1 … N; kept for other expressions."""
        return tuple(self.picture(t, tuple(tracks)) for t in keyframes)

    def _draw(self, t: int, tracks: tuple[TrackId, ...]) -> Picture:
        seen_N = self.sightings(tracks).visible_NT[:, t]
        drawn = {
            number: masks.decode(self._rles_of(track)[t])
            for number, (track, seen) in enumerate(zip(tracks, seen_N, strict=True), 1)
            if seen
        }
        return Picture(draw_outlined(self.frames.load(t), drawn, self.side))

    def _path(self, source: Source) -> Any:
        return self.layout.file(BUILD_TRACKS, self.video, source)

    def _tracks_of(self, source: Source) -> Mapping[Column, NDArray[Any]]:
        if source not in self.tracks:
            tracks = read_columns(self._path(source), ("score", "iou", "area"))
            n_tracks, n_frames = tracks["score"].shape
            if n_tracks and n_frames != len(self.frames):
                raise ValueError(
                    f"{self._path(source)}: tracks of {n_frames} frames, the video has "
                    f"{len(self.frames)}; run build_tracks again"
                )
            self.tracks[source] = tracks
        return self.tracks[source]

    def _rles_of(self, track: TrackId) -> list[Rle]:
        if track not in self.rles:
            source, row = track
            self.rles[track] = read_masks(self._path(source), [row])[0]
        return self.rles[track]
