"""The courses of candidates as numbers: trajectories without the camera's motion, standing, turning, growing.

Boxes that the picture's edge cuts are completed to their usual extent, so that what enters moves at its own speed.

Legend: N candidates, T frames of a course (from the first to the last sighting).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stages.evidence.views.camera import camera_path
from stages.evidence.views.scene import Scene

Floats = NDArray[np.float64]
EDGE = 0.012  # of the picture's side: a box so near to the edge may go on beyond it
STANDING = 0.0017  # sides per frame: slower is standing …
STANDING_SHARE = 0.12  # … and so is this share of the candidate's own highest speed
STILL = 0.04  # sides: what never gets farther does not move
SHORTEST_STAND = 0.14  # of the video's frames
MOVED = 0.06  # sides: less is no movement before or after a stand or a turn
CHORDS = 8
SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True, eq=False)
class Course:
    """One candidate's; lengths are in `side`, √(height · width) of the picture.

    Attributes:
        first, last: frames of the first and the last sighting.
        image_T2, world_T2: centres in the picture and without the camera's motion, from the first to the last sighting.
        extent_T2: width and height.
        touches_T4: whether the box touches the left, top, right and bottom edge; False where it is not seen.
        seen_T: whether it can be seen.
        n_frames: of the video.
        frame_2: width and height of the picture.
    """

    first: int
    last: int
    image_T2: Floats
    world_T2: Floats
    extent_T2: Floats
    touches_T4: NDArray[np.bool_]
    seen_T: NDArray[np.bool_]
    n_frames: int
    frame_2: tuple[float, float]

    @cached_property
    def speed_T(self) -> Floats:
        """Sides per frame, over five frames."""
        n = len(self.world_T2)
        after, before = np.minimum(np.arange(n) + 2, n - 1), np.maximum(np.arange(n) - 2, 0)
        step_T = np.maximum(after - before, 1)
        speed_T: Floats = np.hypot(*(self.world_T2[after] - self.world_T2[before]).T) / step_T
        return speed_T

    @property
    def travel(self) -> float:
        """Length of the path, in steps of three frames: noise of boxes does not add up."""
        marks = np.unique(np.append(np.arange(0, len(self.world_T2), 3), len(self.world_T2) - 1))
        return float(np.hypot(*np.diff(self.world_T2[marks], axis=0).T).sum())

    @property
    def moves(self) -> bool:
        return float(np.ptp(self.world_T2, axis=0).max()) > STILL

    def stretches(self, count: int = 4) -> Floats:
        """(count, 2) displacements in equal parts of the course."""
        marks = np.round(np.linspace(0, len(self.world_T2) - 1, count + 1)).astype(int)
        return np.diff(self.world_T2[marks], axis=0)

    @cached_property
    def stand(self) -> tuple[int, int] | None:
        """The longest time it stands, as its first frame and the one after its last, counted in the course."""
        if not self.moves:
            return None
        slow_T = self.speed_T < max(STANDING, STANDING_SHARE * float(np.percentile(self.speed_T, 95)))
        best, start = (0, 0), None
        for t, stands in enumerate([*slow_T, False]):
            if stands and start is None:
                start = t
            elif not stands and start is not None:
                best, start = max(best, (start, t), key=lambda span: span[1] - span[0]), None
        return best if best[1] - best[0] >= max(3, SHORTEST_STAND * self.n_frames) else None

    def moved(self, start: int, stop: int) -> float:
        """How far it gets from where it is in frame `start` until before `stop`."""
        part_T2 = self.world_T2[start:stop]
        return float(np.hypot(*(part_T2 - part_T2[0]).T).max()) if len(part_T2) else 0.0

    @cached_property
    def turn(self) -> int | None:
        """The frame of the course in which it turns back sharply: far out, and back again about the same way."""
        path_T2 = self.world_T2
        out_T2, back_T2 = path_T2 - path_T2[0], path_T2[-1] - path_T2
        out_T, back_T = np.hypot(*out_T2.T), np.hypot(*back_T2.T)
        opposite_T = (out_T2 * back_T2).sum(1) <= -0.85 * out_T * back_T
        fits_T = opposite_T & (np.minimum(out_T, back_T) >= MOVED)
        if not fits_T.any():
            return None
        t = int(np.argmax(np.where(fits_T, out_T + back_T, -1)))
        return t if self.travel <= 1.25 * float(out_T[t] + back_T[t]) else None

    @cached_property
    def bend(self) -> tuple[float, float]:
        """Degrees by which it bends in all, signed, and the share of its bends that go that way."""
        marks = np.round(np.linspace(0, len(self.world_T2) - 1, CHORDS + 1)).astype(int)
        chords_S2 = np.diff(self.world_T2[marks], axis=0)
        chords_S2 = chords_S2[np.hypot(*chords_S2.T) > 0.012]
        if len(chords_S2) < 4:
            return 0.0, 0.0
        a, b = chords_S2[:-1], chords_S2[1:]
        angles = np.degrees(np.arctan2(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0], (a * b).sum(1)))
        total = float(angles.sum())
        return total, float((angles * np.sign(total) > 0).mean())

    def growth(self) -> float:
        """Its extent at the end relative to that at the start, where no edge cuts it; 1 where that cannot be told."""
        whole = np.flatnonzero(self.seen_T & ~self.touches_T4.any(1))
        if len(whole) < 6:
            return 1.0
        extent_T = np.sqrt(self.extent_T2[whole].prod(1))
        part = max(2, len(whole) // 5)
        return float(np.median(extent_T[-part:]) / max(np.median(extent_T[:part]), 1e-6))

    def nearest_edge(self, t: int) -> str:
        """The edge that its box is nearest to in frame `t` of the course."""
        (x, y), (w, h) = self.image_T2[t], self.extent_T2[t] / 2
        right, bottom = self.frame_2
        return SIDES[int(np.argmin([x - w, y - h, right - x - w, bottom - y - h]))]

    def gap(self, t: int) -> float:
        """From its box to the nearest edge in frame `t` of the course."""
        (x, y), (w, h) = self.image_T2[t], self.extent_T2[t] / 2
        right, bottom = self.frame_2
        return float(min(x - w, y - h, right - x - w, bottom - y - h))


def courses_of(scene: Scene) -> list[Course | None]:
    """The course of every candidate; None = it cannot be seen in two frames."""
    height, width = scene.size
    side = float(np.sqrt(height * width))
    camera_T2 = camera_path(scene) / side if len(scene) else np.zeros((scene.n_frames, 2))
    return [_course(scene, n, side, camera_T2) for n in range(len(scene))]


def _course(scene: Scene, n: int, side: float, camera_T2: Floats) -> Course | None:
    seen = np.flatnonzero(scene.visible_NT[n])
    if len(seen) < 2:
        return None
    height, width = scene.size
    first, last = int(seen[0]), int(seen[-1])
    boxes_S4 = scene.boxes_NT4[n, seen].astype(np.float64)
    margin = max(1.0, EDGE * side)
    touches_S4 = np.stack(
        [
            boxes_S4[:, 0] < margin,
            boxes_S4[:, 1] < margin,
            boxes_S4[:, 2] > width - margin,
            boxes_S4[:, 3] > height - margin,
        ],
        1,
    )
    centre_S2, extent_S2 = _completed(boxes_S4, touches_S4)
    times = np.arange(first, last + 1)

    def everywhere(values_S2: Floats) -> Floats:
        return np.stack([np.interp(times, seen, column) for column in values_S2.T], 1)

    image_T2 = everywhere(centre_S2) / side
    touches_T4 = np.zeros((len(times), 4), bool)
    touches_T4[seen - first] = touches_S4
    seen_T = np.zeros(len(times), bool)
    seen_T[seen - first] = True
    world_T2 = _smooth(image_T2 + camera_T2[first : last + 1])
    extent_T2 = everywhere(extent_S2) / side
    return Course(
        first,
        last,
        _smooth(image_T2),
        world_T2,
        extent_T2,
        touches_T4,
        seen_T,
        scene.n_frames,
        (width / side, height / side),
    )


def _completed(boxes_S4: Floats, touches_S4: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Centres and extents; where one edge cuts a box, as if it had its usual extent."""
    centres, extents = [], []
    for low, high in ((0, 2), (1, 3)):
        extent_S = boxes_S4[:, high] - boxes_S4[:, low]
        free_S = ~(touches_S4[:, low] | touches_S4[:, high])
        usual = float(np.median(extent_S[free_S])) if free_S.sum() >= 3 else float(extent_S.max())
        cut_low_S = touches_S4[:, low] & ~touches_S4[:, high] & (extent_S < usual)
        cut_high_S = touches_S4[:, high] & ~touches_S4[:, low] & (extent_S < usual)
        begin_S = np.where(cut_low_S, boxes_S4[:, high] - usual, boxes_S4[:, low])
        end_S = np.where(cut_high_S, boxes_S4[:, low] + usual, boxes_S4[:, high])
        centres.append((begin_S + end_S) / 2)
        extents.append(end_S - begin_S)
    return np.stack(centres, 1), np.stack(extents, 1)


def _smooth(path_T2: Floats) -> Floats:
    """A mean over three frames; the ends stay."""
    if len(path_T2) < 3:
        return path_T2
    smooth_T2 = path_T2.copy()
    smooth_T2[1:-1] = (path_T2[:-2] + path_T2[1:-1] + path_T2[2:]) / 3
    return smooth_T2


def direction(vector_2: Floats, still: float) -> str:
    """One of eight directions in words, or "still"."""
    x, y = vector_2
    if np.hypot(x, y) < still:
        return "still"
    horizontal, vertical = ("right" if x > 0 else "left"), ("down" if y > 0 else "up")
    if abs(y) < 0.45 * abs(x):
        return horizontal
    return vertical if abs(x) < 0.45 * abs(y) else f"{vertical} {horizontal}"
