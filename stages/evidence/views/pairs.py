"""What two candidates do to each other, computed from their courses: positions, following, passing, circling.

Legend: N candidates, T frames that both are there.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.evidence.views.course import MOVED, Course
from stages.evidence.views.scene import Scene

Floats = NDArray[np.float64]
SHORTEST_SHARE = 0.5  # of the video that two must share for a relation of place
CLEAR = 0.03  # sides: nearer than that is not clearly left of, say
SLACK = 0.9  # share of frames in which a relation of place must hold: boxes are noisy
BEHIND = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}


def relations(scene: Scene, courses: Sequence[Course | None]) -> list[dict[str, list[int]]]:
    """Of each candidate: relation → the others that it has it to, in words that come before a number."""
    found: list[dict[str, list[int]]] = [{} for _ in courses]
    for i, one in enumerate(courses):
        for j, other in enumerate(courses):
            if i == j or one is None or other is None:
                continue
            names = [*_place(one, other), *_motion(one, other)]
            if _passes_before(scene, i, j, one, other):
                found[j].setdefault("passed in front by", []).append(i)
                names.append("passes in front of")
            for name in names:
                found[i].setdefault(name, []).append(j)
    return found


def shared_time(one: Course, other: Course, paths: str) -> tuple[Floats, Floats]:
    """The stretches of two paths ("image_T2" or "world_T2") in the frames between whose ends both are there."""
    first, last = max(one.first, other.first), min(one.last, other.last)
    if last < first:
        return np.zeros((0, 2)), np.zeros((0, 2))
    cut = [getattr(c, paths)[first - c.first : last + 1 - c.first] for c in (one, other)]
    return cut[0], cut[1]


def _place(one: Course, other: Course) -> list[str]:
    a_T2, b_T2 = shared_time(one, other, "image_T2")
    if len(a_T2) < SHORTEST_SHARE * one.n_frames:
        return []
    offset_T2 = a_T2 - b_T2
    names = []
    for name, unit in BEHIND.items():
        along_T = offset_T2 @ np.array(unit, float)
        across_T = abs(offset_T2) @ (1 - abs(np.array(unit, float)))
        if (along_T > 0).all() and ((along_T >= CLEAR) & (along_T >= 0.95 * across_T)).mean() >= SLACK:
            names.append(name)
    return names


def _motion(one: Course, other: Course) -> list[str]:
    a_T2, b_T2 = shared_time(one, other, "world_T2")
    if len(a_T2) < 6:
        return []
    size = float(np.sqrt(one.extent_T2.prod(1)).max() + np.sqrt(other.extent_T2.prod(1)).max()) / 2
    checks = {
        "follows": _follows(a_T2, b_T2, size),
        "followed by": _follows(b_T2, a_T2, size),
        "overtakes": _overtakes(a_T2, b_T2, size),
        "overtaken by": _overtakes(b_T2, a_T2, size),
        "circles": _circles(a_T2, b_T2, size),
        "approaches": _nears(a_T2, b_T2, size),
        "parts from": _nears(a_T2[::-1], b_T2[::-1], size),
    }
    return [name for name, holds in checks.items() if holds]


def _follows(a_T2: Floats, b_T2: Floats, size: float) -> bool:
    """It goes where the other has been, a little later."""
    if min(_run(a_T2), _run(b_T2)) < 2 * MOVED:
        return False
    n = len(a_T2)
    off = [float(np.hypot(*(a_T2[d:] - b_T2[:-d]).T).mean()) for d in range(2, max(3, n * 3 // 4))]
    apart_T = np.hypot(*(a_T2 - b_T2).T)
    steps = np.diff(a_T2, axis=0)
    ahead_S = (steps * (b_T2 - a_T2)[:-1]).sum(1) > 0.5 * np.hypot(*steps.T) * apart_T[:-1]
    return min(off) < 0.25 * size + 0.02 and apart_T.max() < 4 * size and float(ahead_S.mean()) > 0.6


def _overtakes(a_T2: Floats, b_T2: Floats, size: float) -> bool:
    """It goes the same way, is behind at first and ahead at the end."""
    run_2, other_2 = a_T2[-1] - a_T2[0], b_T2[-1] - b_T2[0]
    far, other_far = float(np.hypot(*run_2)), float(np.hypot(*other_2))
    if far < 2 * MOVED or other_far < MOVED or run_2 @ other_2 < 0.8 * far * other_far:
        return False
    unit_2 = run_2 / far
    along_T = (a_T2 - b_T2) @ unit_2
    across_T = abs((a_T2 - b_T2) @ np.array([-unit_2[1], unit_2[0]]))
    return bool(along_T[0] < -0.04 and along_T[-1] > 0.04 and np.median(across_T) < 2.2 * size)


def _circles(a_T2: Floats, b_T2: Floats, size: float) -> bool:
    """It goes most of the way round the other, at about one distance."""
    offset_T2 = a_T2 - b_T2
    apart_T = np.hypot(*offset_T2.T)
    if apart_T.min() < 1e-3 or apart_T.max() > 1.7 * apart_T.min() or apart_T.max() > 2.8 * size:
        return False
    angle_T = np.unwrap(np.arctan2(offset_T2[:, 1], offset_T2[:, 0]))
    return abs(float(angle_T[-1] - angle_T[0])) > np.radians(200) and _run(a_T2) > MOVED


def _nears(a_T2: Floats, b_T2: Floats, size: float) -> bool:
    """Both go towards each other until they are near."""
    apart_T = np.hypot(*(a_T2 - b_T2).T)
    line_2 = b_T2[0] - a_T2[0]
    heads = [
        (path[-1] - path[0]) @ (sign * line_2) > 0.7 * np.hypot(*(path[-1] - path[0])) * apart_T[0]
        for path, sign in ((a_T2, 1), (b_T2, -1))
    ]
    moved = min(np.hypot(*(a_T2[-1] - a_T2[0])), np.hypot(*(b_T2[-1] - b_T2[0]))) > 0.04
    return bool(moved and all(heads) and apart_T[-1] < 0.7 * apart_T[0] and apart_T[-1] < 2.2 * size)


def _run(path_T2: Floats) -> float:
    return float(np.hypot(*np.ptp(path_T2, axis=0)))


def _passes_before(scene: Scene, i: int, j: int, one: Course, other: Course) -> bool:
    """Where their boxes meet the other loses much of its area and this one does not; before or after they are apart."""
    both = np.flatnonzero(scene.visible_NT[i] & (scene.visible_NT[j] | (scene.area_NT[j] == 0)))
    both = both[(both >= other.first) & (both <= other.last)]
    if len(both) < 4:
        return False
    shares = []
    for n, course in ((i, one), (j, other)):
        whole = np.flatnonzero(course.seen_T & ~course.touches_T4.any(1)) + course.first
        usual = float(np.median(scene.area_NT[n, whole])) if len(whole) >= 3 else 0.0
        shares.append(scene.area_NT[n, both] / max(usual, 1.0))
    a_T2 = one.image_T2[np.clip(both - one.first, 0, len(one.image_T2) - 1)]
    b_T2 = other.image_T2[np.clip(both - other.first, 0, len(other.image_T2) - 1)]
    reach_T2 = (
        one.extent_T2[np.clip(both - one.first, 0, len(one.extent_T2) - 1)]
        + other.extent_T2[np.clip(both - other.first, 0, len(other.extent_T2) - 1)]
    ) / 2
    meets_T = (abs(a_T2 - b_T2) < reach_T2).all(1)
    hidden_T = meets_T & (shares[1] < 0.72) & (shares[0] > 0.85)
    return bool(hidden_T.sum() >= 2 and not meets_T.all())
