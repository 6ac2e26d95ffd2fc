"""View `trail`: motion in one picture. A candidate in one frame, and the centres of its past and future as a line.

The past is drawn in one colour and the future in another, both fade with their distance in time from the frame, and an
arrow shows where the future goes. The line is broken where the candidate is absent.

Legend: T frames, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stages.evidence.questions import Parts, Picture
from stages.evidence.views.display import Image, display_size, resize_frame, resize_mask
from stages.evidence.views.highlight import frames_of
from stages.evidence.views.scene import Scene

PAST, FUTURE = (0, 170, 255), (255, 64, 32)
FAINTEST = 0.25  # opacity of what is farthest away in time
DIMMED = 0.6
LINE_SHARE = 1 / 100  # width of the line, of the image's longest side
STILL_SHARE = 1 / 50  # a future that goes no farther has no arrow
EXPLANATION = (
    " the image is one frame of the video; the blue line is where the object came from, the red line and its arrow where"
    " it goes."
)


@dataclass(frozen=True)
class Trail:
    """The settings of the view: the longest side of its picture in pixels."""

    side: int
    in_context: bool = False

    def shared(self, scene: Scene, frames: Sequence[int]) -> Parts:
        return ()

    def block(self, scene: Scene, n: int, number: int, frames: Sequence[int]) -> Parts:
        times = frames_of(scene, n, frames)
        if not times:
            return ()
        return Picture(draw_trail(scene, n, times[len(times) // 2], self.side)), EXPLANATION


def draw_trail(scene: Scene, n: int, t: int, side: int) -> Image:
    """(H', W', 3) RGB uint8: candidate `n` outlined in frame `t`, and its course before and after."""
    from stages.core.media.drawing import WHITE, outline

    size = display_size(scene.size, side)
    mask_HW = resize_mask(scene.mask(n, t), size)
    image_HW3 = np.rint(resize_frame(scene.frame(t), size) * DIMMED).astype(np.uint8)
    image_HW3 = outline(image_HW3, mask_HW, WHITE, 1)
    points_T2 = scene.centre_NT2[n] * (np.array(size[::-1]) / np.array(scene.size[::-1]))
    seen = np.flatnonzero(scene.visible_NT[n])
    width = max(2, round(side * LINE_SHARE))
    for before, after in pairwise(seen):
        if after - before > 1:  # absent in between
            continue
        colour, distance = (PAST, t - before) if after <= t else (FUTURE, after - t)
        opacity = 1 - (1 - FAINTEST) * distance / max(t - seen[0], seen[-1] - t, 1)
        image_HW3 = _line(image_HW3, points_T2[before], points_T2[after], colour, float(opacity), width)
    return _arrow(image_HW3, points_T2[seen[seen >= t]], side * STILL_SHARE, width)


def _line(
    image_HW3: Image, start: NDArray[np.floating], end: NDArray[np.floating], colour: object, opacity: float, width: int
) -> Image:
    import cv2

    drawn_HW3 = cv2.line(image_HW3.copy(), _pixel(start), _pixel(end), colour, width, cv2.LINE_AA)
    return cv2.addWeighted(drawn_HW3, opacity, image_HW3, 1 - opacity, 0).astype(np.uint8)


def _arrow(image_HW3: Image, future_T2: NDArray[np.floating], still: float, width: int) -> Image:
    """The head of an arrow at the end of the future, along its last part that is long enough to have a direction."""
    import cv2

    end = future_T2[-1]
    lengths_T = np.linalg.norm(future_T2 - end, axis=1)
    far = np.flatnonzero(lengths_T >= still)
    if not len(far):
        return image_HW3
    back = (future_T2[far[-1]] - end) / lengths_T[far[-1]]
    across = np.array([-back[1], back[0]])
    corners = [end - back * width, end + (back + across * 0.7) * 3 * width, end + (back - across * 0.7) * 3 * width]
    head = np.array([_pixel(corner) for corner in corners], np.int32)
    return np.asarray(cv2.fillPoly(image_HW3.copy(), [head], FUTURE, cv2.LINE_AA), np.uint8)


def _pixel(point: NDArray[np.floating]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
