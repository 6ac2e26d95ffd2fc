"""View `card`: one small picture per candidate, crops of it over time, and its trajectory as text.

    [picture]  h19 x37 y62 x41 y60 gone gone x52 y58 x55 y55 x60 y51 x64 y49

The four crops are read like a page; all have the same scale, so that growth shows. h is the candidate's typical height,
x and y are its centre at eight times, in hundredths of the picture.

Legend: T frames, S pixels of a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.evidence.questions import Parts, Picture
from stages.evidence.views.scene import Image, Scene

TIMES = 8
CROPS = 4
MARGIN = 1.3  # of the window, relative to the candidate's longer side
UNUSUAL = 1.5  # times the median: larger is an error of the tracker
GREY = 128
HIGHEST = 99
EXPLANATION = (
    " of each object: four crops over time in one picture, its height h, and its centre at eight times, x from the left"
    " and y from the top."
)


@dataclass(frozen=True)
class Card:
    """The settings of the view: the side of its picture in pixels."""

    side: int
    in_context: bool = True

    def shared(self, scene: Scene, frames: Sequence[int]) -> Parts:
        return (EXPLANATION,) if len(scene) else ()

    def block(self, scene: Scene, n: int, number: int, frames: Sequence[int]) -> Parts:
        return Picture(draw_crops(scene, n, self.side)), trajectory(scene, n)


def trajectory(scene: Scene, n: int) -> str:
    """The candidate's height and its centre at eight times, evenly spread over the video; "gone" where it is absent."""
    height, width = scene.size
    seen_T = scene.visible_NT[n]
    words = []
    if seen_T.any():
        words.append(f"h{_hundredths(float(np.median(scene.extent_NT2[n, seen_T, 1])) / height)}")
    for t in spread(scene.n_frames, TIMES):
        x, y = scene.centre_NT2[n, t]
        words.append(f"x{_hundredths(x / width)} y{_hundredths(y / height)}" if seen_T[t] else "gone")
    return "".join(f" {word}" for word in words)


def draw_crops(scene: Scene, n: int, side: int) -> Image:
    """(S, S, 3) four crops of candidate `n` in frames when it can be seen well; grey where there is none."""
    half = side // 2
    picture_SS3 = np.full((side, side, 3), GREY, np.uint8)
    frames = best_frames(scene, n)
    if not len(frames):
        return picture_SS3
    longer_F = scene.extent_NT2[n, frames].max(1)
    window = MARGIN * float(min(longer_F.max(), UNUSUAL * np.median(longer_F)))
    for corner, t in zip(((0, 0), (0, half), (half, 0), (half, half)), frames):
        y, x = corner
        picture_SS3[y : y + half, x : x + half] = _crop(scene.frame(int(t)), scene.centre_NT2[n, t], window, half)
    return picture_SS3


def best_frames(scene: Scene, n: int) -> NDArray[np.intp]:
    """Of each quarter of the frames in which the candidate can be seen the one where it is largest; the earlier of equals.

    Where it is far larger than usual, the track has most likely run into something else: such a frame is only taken
    where the quarter has no other.
    """
    seen = np.flatnonzero(scene.visible_NT[n])
    quarters = [part for part in np.array_split(seen, CROPS) if len(part)]
    area_T = scene.area_NT[n].astype(np.float64)
    highest = UNUSUAL * float(np.median(area_T[seen])) if len(seen) else 0.0
    value_T = np.where(area_T <= highest, area_T, -area_T)
    return np.array([part[int(np.argmax(value_T[part]))] for part in quarters], np.intp)


def spread(n_frames: int, count: int) -> NDArray[np.intp]:
    """`count` frame indices from the first to the last, evenly spread."""
    return np.round(np.linspace(0, n_frames - 1, count)).astype(np.intp)


def _crop(frame_HW3: Image, centre_2: NDArray[np.float32], window: float, side: int) -> Image:
    """A square window of the frame at `side` pixels, grey beyond the frame."""
    import cv2

    scale = side / max(window, 1.0)
    x, y = (float(value) for value in centre_2)
    shift = np.array([[scale, 0, side / 2 - x * scale], [0, scale, side / 2 - y * scale]])
    if scale < 1:  # warpAffine takes single pixels, so shrink by area first
        small_HW3 = cv2.resize(frame_HW3, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        ratio_2 = np.array(small_HW3.shape[1::-1]) / np.array(frame_HW3.shape[1::-1])
        frame_HW3 = small_HW3
        shift = np.array([[1, 0, side / 2 - x * ratio_2[0]], [0, 1, side / 2 - y * ratio_2[1]]], np.float64)
    crop_SS3 = cv2.warpAffine(
        frame_HW3, shift, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(GREY,) * 3
    )
    return np.asarray(crop_SS3, np.uint8)


def _hundredths(share: float) -> int:
    return int(np.clip(share * 100, 0, HIGHEST))
