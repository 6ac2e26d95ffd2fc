"""How tracks are seen, frame by frame: what frames are chosen by.

Legend: N tracks, T frames, C channels of an object token.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A track is visible in a frame where its object score is above 0 and its mask covers this share of it.
VISIBLE_SHARE = 5e-5

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Sightings:
    """N tracks of a video.

    Attributes:
        object_NT: object-score logits; where a mask prompt began a track SAM2 writes ±10, here stands the median of the
            track's other visible frames (stages/selectors/presence.py).
        iou_NT: predicted IoU.
        area_NT: mask areas in pixels.
        visible_NT: see `visible`.
        tokens_NTC: object tokens; C = 0 for imported masks.
    """

    object_NT: Floats
    iou_NT: Floats
    area_NT: NDArray[np.integer]
    visible_NT: NDArray[np.bool_]
    tokens_NTC: Floats

    def within(self, frames: range) -> "Sightings":
        """The same tracks in a stretch of time."""
        part = slice(frames.start, frames.stop)
        return Sightings(
            self.object_NT[:, part],
            self.iou_NT[:, part],
            self.area_NT[:, part],
            self.visible_NT[:, part],
            self.tokens_NTC[:, part],
        )


def visible(object_NT: Floats, area_NT: NDArray[np.integer], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N, T): where a track can be seen, in frames of `size` = (height, width)."""
    floor = max(1.0, VISIBLE_SHARE * size[0] * size[1])
    return (object_NT > 0) & (area_NT >= floor)
