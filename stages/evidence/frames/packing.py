"""Many frames in few pictures, after SVAC and SaSaSa2VA: of each stretch of time one whole frame, the anchor, and one
picture of g × g smaller frames that are spread over it.

Legend: T frames, g rows and columns of a picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from stages.evidence.frames.choose import bins, uniform
from stages.evidence.questions import Picture
from stages.evidence.views.display import Image, display_size, resize_frame

BACKGROUND = 0


class Cell(NamedTuple):
    """Where a frame is in a picture: its upper left corner and its size in pixels."""

    frame: int
    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class PackedPicture(Picture):
    """Several frames as one picture, and where each of them is.

    Attributes:
        cells: of the frames, row by row; a picture may have fewer than it has room for.
        size: (height, width) of the frames themselves.
    """

    cells: tuple[Cell, ...] = field(default=())
    size: tuple[int, int] = (0, 0)

    def to_frame(self, y: float, x: float) -> tuple[int, float, float] | None:
        """(frame, y, x) in that frame's own pixels, of a point of the picture; None beside the frames."""
        for cell in self.cells:
            if cell.top <= y < cell.top + cell.height and cell.left <= x < cell.left + cell.width:
                down, across = self.size[0] / cell.height, self.size[1] / cell.width
                return cell.frame, (y - cell.top) * down, (x - cell.left) * across
        return None

    def from_frame(self, frame: int, y: float, x: float) -> tuple[float, float] | None:
        """The point of the picture that shows the point (y, x) of a frame; None for a frame that is not in it."""
        for cell in self.cells:
            if cell.frame == frame:
                return cell.top + y * cell.height / self.size[0], cell.left + x * cell.width / self.size[1]
        return None


def tiles_of(anchor: int, n_frames: int, clips: int, grid: int) -> list[int]:
    """The frames beside an anchor: grid² that are spread over its stretch of time, without the anchor itself."""
    window = next(window for window in bins(n_frames, clips) if anchor in window)
    others = [t for t in window if t != anchor]
    return [others[k] for k in uniform(len(others), grid**2)] if others else []


def pack(
    draw: Callable[[int], Image], frames: Sequence[int], size: tuple[int, int], side: int, grid: int
) -> PackedPicture:
    """The frames in order, row by row, each with its own aspect within its cell.

    Args:
        draw: frame → its picture, with all that is to be seen on it already drawn.
        frames: at most grid².
        size: (height, width) of the frames.
        side: longest side of the picture in pixels.
    """
    height, width = display_size(size, side)
    canvas_HW3 = np.full((height, width, 3), BACKGROUND, np.uint8)
    cells = []
    for k, t in enumerate(frames):
        cell = _cell(t, divmod(k, grid), (height, width), grid, size)
        tile_HW3 = resize_frame(draw(t), (cell.height, cell.width))
        canvas_HW3[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width] = tile_HW3
        cells.append(cell)
    return PackedPicture(canvas_HW3, tuple(cells), size)


def _cell(t: int, place: tuple[int, int], canvas: tuple[int, int], grid: int, size: tuple[int, int]) -> Cell:
    """The largest place of a frame's aspect in the middle of its share of the canvas."""
    (top, bottom), (left, right) = (_share(k, side, grid) for k, side in zip(place, canvas, strict=True))
    scale = min((bottom - top) / size[0], (right - left) / size[1])
    height, width = (max(1, min(round(s * scale), room)) for s, room in zip(size, (bottom - top, right - left)))
    return Cell(t, top + (bottom - top - height) // 2, left + (right - left - width) // 2, height, width)


def _share(k: int, side: int, grid: int) -> tuple[int, int]:
    """From where to where the k-th of `grid` equal parts of a side goes, a pixel of margin between parts."""
    return k * side // grid + (k > 0), (k + 1) * side // grid
