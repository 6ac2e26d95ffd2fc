"""Statements about two objects: true, false, or unclear (None). The first is the subject.

Legend: T frames.
"""

import numpy as np

from stages.worlds.shapes.facts import Facts, SceneFacts, Truth, between, turns
from stages.worlds.shapes.motion import DIRECTIONS
from stages.worlds.shapes.scene import Float


def lies_of(direction: str, facts: SceneFacts, one: int, other: int) -> Truth:
    """On that side of the other whenever both are in the image; false where it is always on its far side."""
    a, b = facts.objects[one], facts.objects[other]
    both_T = ~(a.gone_T | b.gone_T)
    if both_T.mean() < 0.5:
        return None
    unit = np.array(DIRECTIONS[direction])
    offset_T2 = (a.image_T2 - b.image_T2)[both_T]
    along_T, across_T = offset_T2 @ unit, abs(offset_T2) @ (1 - abs(unit))
    clear = (a.radius_T + b.radius_T).max() * 0.6
    if (along_T >= clear).all() and (along_T >= across_T).all():
        return True
    return False if (along_T <= 0).all() else None


def follows(facts: SceneFacts, one: int, other: int) -> Truth:
    """Goes where the other has been, a little later; false where it hardly ever heads for it and moves its way."""
    a, b = facts.objects[one], facts.objects[other]
    if a.travel < 4 or b.travel < 4:
        return False
    n_frames = len(a.world_T2)
    off = [float(between(a.world_T2[d:], b.world_T2[:-d]).mean()) for d in range(2, n_frames * 3 // 4)]
    touching = a.radius_T.max() + b.radius_T.max()
    apart_T = between(a.world_T2, b.world_T2)
    ahead = _share_heading(a, b)
    near = apart_T.min() > 0.8 * touching and apart_T.max() < 3.5 * touching
    if min(off) < 3 and b.travel >= 25 and near and ahead >= 0.7:
        return True
    return False if ahead < 0.3 else None


def _share_heading(a: Facts, b: Facts) -> float:
    """Share of the time in which `a` moves towards `b` and the same way as `b`."""
    towards_S2 = (b.world_T2 - a.world_T2)[:-1]
    same_S = (a.steps_S2 * b.steps_S2).sum(1) > 0.7 * a.speed_S * b.speed_S
    towards_S = (a.steps_S2 * towards_S2).sum(1) > 0.7 * a.speed_S * np.hypot(*towards_S2.T)
    return float((same_S & towards_S).mean())


def overtakes(facts: SceneFacts, one: int, other: int) -> Truth:
    """Moves the same way, is behind at first and ahead at the end; false where it never gets past, or only
    past what goes elsewhere or is far away.
    """
    a, b = facts.objects[one], facts.objects[other]
    run_2 = a.world_T2[-1] - a.world_T2[0]
    far = np.hypot(*run_2)
    if far < 10 or a.travel > 1.2 * far:
        return False if far < 4 else None
    along_T = (a.world_T2 - b.world_T2) @ (run_2 / far)
    gained = along_T - np.minimum.accumulate(along_T)
    if along_T.min() >= 0 or along_T.max() <= 0 or gained.max() < 4:
        return False
    same_way = float((b.world_T2[-1] - b.world_T2[0]) @ run_2) / far
    across_T = abs((a.world_T2 - b.world_T2) @ np.array([-run_2[1], run_2[0]]) / far)
    touching = a.radius_T[0] + b.radius_T[0]
    if (b.travel >= 8 and same_way < 0.3 * b.travel) or across_T.min() > 2.5 * touching:
        return False
    along = b.travel >= 12 and same_way >= 0.9 * b.travel
    beside = across_T.max() <= 2 * touching
    return True if along and beside and along_T[0] <= -9 and along_T[-1] >= 9 else None


def circles_around(facts: SceneFacts, one: int, other: int) -> Truth:
    """Goes round the other, which stands, at about one distance, by 270° or more; false for less than 90°."""
    a, b = facts.objects[one], facts.objects[other]
    sweep = _sweep(a, b)
    if sweep < 90:
        return False
    return True if b.travel < 2 and sweep >= 270 and _near(a, b) else None


def circle_each_other(facts: SceneFacts, one: int, other: int) -> Truth:
    """Both go round the point between them; false where neither goes far round the other."""
    a, b = facts.objects[one], facts.objects[other]
    sweep = _sweep(a, b)
    if sweep < 120:
        return False
    return True if min(a.travel, b.travel) > 20 and sweep >= 270 and _near(a, b) else None


def _sweep(a: Facts, b: Facts) -> float:
    """Degrees by which one goes round the other, back and forth cancelling out."""
    return abs(float(np.nan_to_num(turns(a.world_T2 - b.world_T2)).sum()))


def _near(a: Facts, b: Facts) -> bool:
    apart_T = between(a.world_T2, b.world_T2)
    return bool(apart_T.max() < 1.4 * apart_T.min() and apart_T.max() < 2.2 * (a.radius_T[0] + b.radius_T[0]))


def approach_each_other(facts: SceneFacts, one: int, other: int) -> Truth:
    """Both move towards each other until they are near; false where they do not get 5 pixels nearer."""
    return _nears(facts.objects[one], facts.objects[other])


def part(facts: SceneFacts, one: int, other: int) -> Truth:
    """Away from each other: an approach seen backwards."""
    return _nears(facts.objects[one], facts.objects[other], backwards=True)


def _nears(a: Facts, b: Facts, *, backwards: bool = False) -> Truth:
    one_T2, other_T2 = (path[::-1] if backwards else path for path in (a.world_T2, b.world_T2))
    apart_T = between(one_T2, other_T2)
    if (np.maximum.accumulate(apart_T) - apart_T).max() < 5:
        return False
    steady = (np.diff(apart_T) <= 0.1).all() and apart_T[-1] <= 0.65 * apart_T[0] and apart_T[0] - apart_T[-1] >= 20
    close = apart_T[-1] <= 1.8 * (a.radius_T[-1] + b.radius_T[-1])
    line_2 = other_T2[0] - one_T2[0]
    return True if steady and close and all(_heads(p, s * line_2) for p, s in ((one_T2, 1), (other_T2, -1))) else None


def _heads(path_T2: Float, line_2: Float) -> bool:
    """Goes along a line by 8 pixels or more."""
    run_2 = path_T2[-1] - path_T2[0]
    far = np.hypot(*run_2)
    return bool(far >= 8 and run_2 @ line_2 >= 0.85 * far * np.hypot(*line_2))


def covers(facts: SceneFacts, one: int, other: int) -> Truth:
    """Passes in front of the other: hides much of it for a time; false where it never hides anything of it."""
    hidden = facts.hidden_NN[other, one]
    a, b = facts.objects[one], facts.objects[other]
    apart_T = between(a.world_T2, b.world_T2)
    clear = a.radius_T.max() + b.radius_T.max()
    passes = apart_T[0] > clear and apart_T[-1] > clear
    return True if hidden >= 0.4 and passes else False if hidden == 0 else None
