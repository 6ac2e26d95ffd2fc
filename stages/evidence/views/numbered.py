"""View `numbered`: whole frames, shared by all candidates; each is outlined and numbered on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks as rle
from stages.evidence.questions import Parts, Picture
from stages.evidence.views.display import Image, display_size, resize_frame, resize_mask
from stages.evidence.views.scene import Scene

OUTLINE_SHARE = 1 / 256  # width of an outline, of the image's longest side
EXPLANATION = (
    " the {n} images are frames of one video, in order of time. objects are outlined, and each carries its number"
    " wherever it is seen."
)


@dataclass(frozen=True)
class Numbered:
    """The settings of the view: the longest side of its pictures in pixels."""

    side: int
    in_context: bool = True

    def shared(self, scene: Scene, frames: Sequence[int]) -> Parts:
        pictures = [Picture(draw_outlined(scene.frame(t), masks_at(scene, t), self.side)) for t in frames]
        return (*pictures, EXPLANATION.format(n=len(pictures)))

    def block(self, scene: Scene, n: int, number: int, frames: Sequence[int]) -> Parts:
        return ()


def masks_at(scene: Scene, t: int) -> dict[int, NDArray[np.bool_]]:
    """Number → mask of the candidates that can be seen in a frame."""
    return {n + 1: scene.mask(n, t) for n in range(len(scene)) if scene.visible_NT[n, t]}


def draw_outlined(
    frame_HW3: Image, masks: Mapping[int, NDArray[np.bool_]], side: int, width: float = 1.0, badge: float = 1.0
) -> Image:
    """One image for the MLLM.

    Args:
        frame_HW3: RGB uint8.
        masks: number → (H, W) bool mask of the frame's size; empty ones are left out.
        side: longest side of the result in pixels; the aspect is kept.
        width, badge: how much wider than usual the outlines and how much larger the numbers are.

    Returns:
        (H', W', 3) RGB uint8 with the numbered outlines.
    """
    from stages.core.media.drawing import draw_numbered

    shown = {number: mask_HW for number, mask_HW in masks.items() if mask_HW.any()}
    size = display_size(frame_HW3.shape[:2], side)
    drawn = [rle.encode(resize_mask(mask_HW, size)) for mask_HW in shown.values()]
    pixels = max(1, round(side * OUTLINE_SHARE * width))
    return draw_numbered(resize_frame(frame_HW3, size), drawn, list(shown), pixels, badge)
