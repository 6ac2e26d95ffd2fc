"""A video of boxes that cross it: what would be asked can be counted before there are tracks.

Legend: N candidates, T frames.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stages.core.records import TrackId, Video
from stages.evidence.frames.sightings import Sightings, visible
from stages.evidence.judging.asker import Subject
from stages.evidence.judging.candidates import Candidate
from stages.evidence.judging.settings import AskingSettings
from stages.evidence.judging.showing import Showing
from stages.evidence.views.scene import Scene


class DrawnVideo:
    """A video of boxes that cross it, in place of `stages.evidence.views.video.VideoView`."""

    def __init__(self, n_candidates: int, size: tuple[int, int], n_frames: int) -> None:
        rng = np.random.default_rng(0)
        start_N2 = rng.uniform((0.05, 0.1), (0.6, 0.6), (n_candidates, 2))
        step_N2 = rng.uniform(-0.05, 0.3, (n_candidates, 2))
        t_T = np.linspace(0, 1, n_frames)[None, :, None]
        corner_NT2 = np.clip(start_N2[:, None] + step_N2[:, None] * t_T, 0, 0.7) * (size[1], size[0])
        extent_N2 = rng.uniform(0.1, 0.3, (n_candidates, 2)) * (size[1], size[0])
        self.size = size
        self.boxes_NT4 = np.round(np.concatenate([corner_NT2, corner_NT2 + extent_N2[:, None]], -1)).astype(np.float32)
        sides_NT2 = self.boxes_NT4[..., 2:] - self.boxes_NT4[..., :2]
        area_NT, object_NT = sides_NT2.prod(-1).astype(np.int64), np.full(self.boxes_NT4.shape[:2], 5.0)
        tokens_NTC = rng.normal(size=(n_candidates, n_frames, 8))
        seen_NT = visible(object_NT, area_NT, size)
        self.seen = Sightings(object_NT, np.full_like(object_NT, 0.9), area_NT, seen_NT, tokens_NTC)
        self.picture = rng.integers(0, 256, (*size, 3), np.uint8)

    def sightings(self, tracks: Sequence[TrackId]) -> Sightings:
        rows, seen = [track.track for track in tracks], self.seen
        return Sightings(
            seen.object_NT[rows], seen.iou_NT[rows], seen.area_NT[rows], seen.visible_NT[rows], seen.tokens_NTC[rows]
        )

    def scene(self, tracks: Sequence[TrackId], window: range) -> Scene:
        rows = [track.track for track in tracks]
        part = slice(window.start, window.stop)
        return Scene(
            size=self.size,
            names=[f"{t:05d}" for t in window],
            boxes_NT4=self.boxes_NT4[rows, part],
            visible_NT=self.seen.visible_NT[rows, part],
            area_NT=self.seen.area_NT[rows, part],
            object_NT=self.seen.object_NT[rows, part],
            frame=lambda t: self.picture,
            mask=lambda n, t: self.mask(rows[n], window[t]),
        )

    def mask(self, n: int, t: int) -> NDArray[np.bool_]:
        mask_HW = np.zeros(self.size, bool)
        x0, y0, x1, y1 = self.boxes_NT4[n, t].astype(int)
        mask_HW[y0:y1, x0:x1] = True
        return mask_HW


class DrawnSubject:
    """Any number of videos as they would be asked about, all of them with the same drawn candidates and frames.

    Args:
        n_candidates: of every expression.
        size: (height, width) of its frames.
    """

    def __init__(self, settings: AskingSettings, n_candidates: int, size: tuple[int, int], n_frames: int) -> None:
        self.candidates = [Candidate(TrackId("grid", n), (TrackId("grid", n),), 0.0) for n in range(n_candidates)]
        self.showing = Showing(cast(Any, DrawnVideo(n_candidates, size, n_frames)), settings)

    def of(self, video: Video) -> Subject:
        return Subject({e.id: self.candidates for e in video.expressions if e.has_word}, self.showing)
