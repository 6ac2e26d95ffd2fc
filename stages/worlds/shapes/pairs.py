"""Trajectories of two objects that interact, and of one that passes a wall.

Legend: T frames; a path is (T, 2) float64 of x, y in pixels of the world.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from stages.worlds.shapes.motion import MARGIN, Stage, arc, round_trip
from stages.worlds.shapes.scene import Float, Wall, rounded

Pair = tuple[Float, Float]


def follow(stage: Stage, radius: float, other: float) -> Pair:
    """The first travels where the second has been, a little behind."""
    gap, run = radius + other + stage.uniform(3, 7), stage.uniform(40, 60)
    n_delay = max(3, round(gap / run * (stage.n_frames - 1)))
    turn = np.radians(stage.uniform(-100, 100)) if stage.rng.random() < 0.6 else 0.0
    n = stage.n_frames + n_delay
    whole_T2 = stage.place(arc(stage, turn, run * (n - 1) / (stage.n_frames - 1), n))
    return whole_T2[: stage.n_frames], whole_T2[n_delay:]


def overtake(stage: Stage, radius: float, other: float) -> Pair:
    """Both the same way in neighbouring lanes; the first starts behind and ends ahead."""
    along, across, room = stage.axis()
    lead, slow = stage.uniform(14, 22), stage.uniform(20, 30)
    part = min(1.0, room / (slow + 2 * lead))
    u_T1 = np.linspace(0, 1, stage.n_frames)[:, None]
    lane = (radius + other + 2) * stage.rng.choice([-1, 1])
    behind_T2 = u_T1 * (slow + 2 * lead) * part * along
    return _place_pair(stage, behind_T2, (lead + u_T1 * slow) * part * along + lane * across)


def approach(stage: Stage, radius: float, other: float) -> Pair:
    """Towards each other, both, along a line that is slightly slanted."""
    along, across, room = stage.axis()
    near = radius + other + stage.uniform(1, 4)
    far = min(near + stage.uniform(40, 60), max(room, near + 25))
    gap_T1 = np.linspace(far, near, stage.n_frames)[:, None]
    share = stage.uniform(0.35, 0.65)
    line_2 = along + stage.uniform(-0.25, 0.25) * across
    return _place_pair(stage, -share * gap_T1 * line_2, (1 - share) * gap_T1 * line_2)


def part(stage: Stage, radius: float, other: float) -> Pair:
    """Away from each other: an approach played backwards."""
    one_T2, other_T2 = approach(stage, radius, other)
    return one_T2[::-1].copy(), other_T2[::-1].copy()


def circle_each_other(stage: Stage, radius: float, other: float) -> Pair:
    """Both around the point between them."""
    reach_T2 = round_trip(stage, (radius + other) / 2 + stage.uniform(3, 6))
    return _place_pair(stage, reach_T2, -reach_T2)


def circle_around(stage: Stage, radius: float, other: float) -> Pair:
    """The first around the second, which stands."""
    reach_T2 = round_trip(stage, radius + other + stage.uniform(2, 5))
    return _place_pair(stage, reach_T2, np.zeros_like(reach_T2))


PAIRS: Mapping[str, Callable[[Stage, float, float], Pair]] = {
    "follow": follow,
    "overtake": overtake,
    "approach": approach,
    "part": part,
    "circle each other": circle_each_other,
    "circle around": circle_around,
}


def paths_of(pair: str, stage: Stage, radius: float, other: float) -> Pair:
    """The trajectories of both objects, in multiples of 1/16."""
    stage = replace(stage, radius=max(radius, other))
    one_T2, other_T2 = PAIRS[pair](stage, radius, other)
    return rounded(one_T2), rounded(other_T2)


def hide(stage: Stage) -> tuple[Float, Wall]:
    """Behind a wall, wholly, and either out again on its other side or not."""
    along, across, room = stage.axis()
    thick = 2 * 1.4 * stage.radius + stage.uniform(5, 9)
    before = stage.uniform(0.25, 0.4) * max(room - thick, 10.0) + 2.0 * stage.radius
    u_T = np.linspace(0, 1, stage.n_frames)
    if stage.rng.random() < 0.3:  # stays behind it
        along_T = np.minimum(u_T / stage.uniform(0.45, 0.7), 1) * (before + thick / 2)
    else:
        along_T = u_T * (2 * before + thick)
    path_T2 = _place_along(stage, along_T, along)
    middle_2 = path_T2[0] + (before + thick / 2) * along
    half_2 = abs(along) * thick / 2 + across * stage.uniform(2.2, 4.0) * stage.radius
    low_2, high_2 = np.round(middle_2 - half_2), np.round(middle_2 + half_2)
    return rounded(path_T2), Wall(*map(float, (*low_2, *high_2)))


def _place_along(stage: Stage, along_T: Float, along: Float) -> Float:
    """Unlike `Stage.place`, never makes the path smaller: it may begin or end at the border instead."""
    room_2 = stage.room
    start_2 = stage.radius + MARGIN + room_2 * stage.rng.random(2)
    axis = int(np.flatnonzero(along)[0])
    free = room_2[axis] - along_T[-1]
    low = stage.radius + MARGIN + max(free, 0) * stage.rng.random() + min(free, 0) / 2
    start_2[axis] = low if along[axis] > 0 else stage.size[1 - axis] - low
    return start_2 + along_T[:, None] * along


def _place_pair(stage: Stage, one_T2: Float, other_T2: Float) -> Pair:
    """Both somewhere inside, in the same position to each other."""
    both_T2 = stage.place(np.concatenate([one_T2, other_T2]))
    return both_T2[: len(one_T2)], both_T2[len(one_T2) :]
