"""View `highlight`: frames in which one candidate is tinted and outlined, and everything else is dimmed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.evidence.questions import Parts, Picture
from stages.evidence.views.display import Image, display_size, resize_frame, resize_mask
from stages.evidence.views.scene import Scene

DIMMED = 0.4  # brightness of what is not the candidate
OPACITY = 0.25
OUTLINE_SHARE = 1 / 128
EXPLANATION = " the {n} images are frames of one video, in order of time; the object is bright, the rest is dark."


@dataclass(frozen=True)
class Highlight:
    """The settings of the view: the longest side of its pictures in pixels."""

    side: int
    in_context: bool = False

    def shared(self, scene: Scene, frames: Sequence[int]) -> Parts:
        return ()

    def block(self, scene: Scene, n: int, number: int, frames: Sequence[int]) -> Parts:
        times = frames_of(scene, n, frames)
        pictures = [Picture(draw_highlighted(scene.frame(t), scene.mask(n, t), self.side)) for t in times]
        return (*pictures, EXPLANATION.format(n=len(pictures)))


def frames_of(scene: Scene, n: int, frames: Sequence[int]) -> list[int]:
    """Those of the frames in which a candidate can be seen; where it is in none, the one in which it is largest."""
    seen = [t for t in frames if scene.visible_NT[n, t]]
    if seen or not scene.visible_NT[n].any():
        return seen
    return [int(np.where(scene.visible_NT[n], scene.area_NT[n], 0).argmax())]


def draw_highlighted(frame_HW3: Image, mask_HW: NDArray[np.bool_], side: int) -> Image:
    """(H', W', 3) RGB uint8, its longest side `side`; the aspect is kept."""
    from stages.core.media.drawing import colour_of, outline, tint

    size = display_size(frame_HW3.shape[:2], side)
    image_HW3, small_HW = resize_frame(frame_HW3, size), resize_mask(mask_HW, size)
    dark_HW3 = np.rint(image_HW3 * DIMMED).astype(np.uint8)
    bright_HW3 = tint(image_HW3, small_HW, colour_of(0), OPACITY)
    shown_HW3 = np.where(small_HW[..., None], bright_HW3, dark_HW3)
    return outline(shown_HW3, small_HW, colour_of(0), max(1, round(side * OUTLINE_SHARE)))
