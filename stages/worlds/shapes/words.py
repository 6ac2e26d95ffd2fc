"""Statements about one object, evaluated on its facts: true, false, or unclear (None).

A word is true where everyone would say it and false where no one would. In between it is unclear, and a
sentence for which any object is unclear is not used: what remains is true of exactly the objects it refers to.
Motion is judged in the world and, where a drifting camera could suggest otherwise, also in the image.
"""

import numpy as np

from stages.worlds.shapes.facts import Facts, Truth, turns
from stages.worlds.shapes.motion import DIRECTIONS
from stages.worlds.shapes.scene import Float

GAIN = 18.0  # pixels that count as a movement
WELL_SEEN = 0.9


def moves(direction: str, facts: Facts) -> Truth:
    """Steadily and mainly that way, by 18 pixels or more; false where it never gets 4 pixels that way."""
    return _agreed(_moves(direction, facts.world_T2, 4), _moves(direction, facts.image_T2, 10))


def _moves(direction: str, path_T2: Float, slack: float) -> Truth:
    unit = np.array(DIRECTIONS[direction])
    along_T = path_T2 @ unit
    across = abs(path_T2[-1] - path_T2[0]) @ (1 - abs(unit))
    gained = along_T[-1] - along_T[0]
    if (np.diff(along_T) >= -0.5).all() and gained >= GAIN and across <= gained / 2:
        return True
    best = (along_T - np.minimum.accumulate(along_T)).max()
    return False if best < slack else None


def stays(facts: Facts) -> Truth:
    """Does not move at all, and does nothing else; false where it goes some way."""
    changes = np.ptp(facts.angle_T) > 0 or np.ptp(facts.radius_T) > 0
    if facts.travel == 0:
        return None if changes else True
    return False if np.ptp(facts.world_T2, axis=0).max() > 12 else None


def stand_of(facts: Facts) -> tuple[int, int] | None:
    """The longest stop as its first step and the one after its last; None = it never stands."""
    best, start = (0, 0), None
    for step, stands in enumerate([*(facts.speed_S < 0.1), False]):
        if stands and start is None:
            start = step
        elif not stands and start is not None:
            best = max(best, (start, step), key=lambda span: span[1] - span[0])
            start = None
    return best if best[1] > best[0] else None


def _stands(facts: Facts, before: bool, after: bool) -> Truth:
    """Whether it stands for a sixth of the clip, in sight, and travels 8 pixels before and after, or not."""
    stand = stand_of(facts)
    if facts.travel == 0:
        return None  # it never moved: has it stopped?
    if stand is None:
        return False if (facts.speed_S > 0.3).all() else None
    start, end = stand
    speed_S = facts.speed_S
    long = end - start >= max(4, len(speed_S) / 6) and (facts.sight_T[start : end + 1] >= 0.5).mean() > 0.7
    moved = speed_S[:start].sum(), speed_S[end:].sum()
    if long and all((m >= 8) == wanted for m, wanted in zip(moved, (before, after))):
        return True
    if any(m == 0 for m, wanted in zip(moved, (before, after)) if wanted):
        return False  # it moves only at the other end
    return False if long and any(m >= 8 for m, wanted in zip(moved, (before, after)) if not wanted) else None


def stops_and_goes(facts: Facts) -> Truth:
    """Moves, stands, and moves again."""
    return _stands(facts, before=True, after=True)


def stops(facts: Facts) -> Truth:
    """Moves, then stands to the end; unclear for one that moves on again."""
    truth = _stands(facts, before=True, after=False)
    return None if stops_and_goes(facts) is not False and not truth else truth


def sets_off(facts: Facts) -> Truth:
    """Stands from the start, then moves; unclear for one that has moved before."""
    truth = _stands(facts, before=False, after=True)
    return None if stops_and_goes(facts) is not False and not truth else truth


def reversal_of(facts: Facts) -> int | None:
    """The frame in which it turns back sharply, having gone 12 pixels one way and then 12 the other."""
    world_T2 = facts.world_T2
    for t in 1 + np.flatnonzero(abs(np.nan_to_num(_step_turns(facts))) > 120):
        out_2, back_2 = world_T2[t] - world_T2[0], world_T2[-1] - world_T2[t]
        far = np.hypot(*out_2), np.hypot(*back_2)
        opposite = out_2 @ back_2 <= -0.9 * far[0] * far[1]
        if min(far) >= 12 and opposite and facts.travel <= 1.1 * sum(far):
            return int(t)
    return None


def _step_turns(facts: Facts) -> Float:
    return turns(facts.steps_S2)


def _turns_back(facts: Facts, low: float, high: float) -> Truth:
    """Turns back in sight, at a distance from the border between `low` and `high` pixels beyond its radius."""
    t = reversal_of(facts)
    if t is None:
        sharp = (abs(np.nan_to_num(_step_turns(facts))) > 60).any()
        return None if sharp or _bend(facts) >= 200 or _comes_back(facts) else False
    (x, y), (height, width) = facts.image_T2[t], facts.size
    gap = min(x, width - x, y, height - y) - facts.radius_T[t]
    if facts.gone_T[t] or facts.sight_T[t] < 0.5:
        return None
    return True if low <= gap <= high else None


def turns_round(facts: Facts) -> Truth:
    """Turns back in mid-air."""
    return _turns_back(facts, 9, np.inf)


def bounces(facts: Facts) -> Truth:
    """Turns back at the border."""
    return _turns_back(facts, -5, 5)


def _comes_back(facts: Facts) -> bool:
    """Whether it goes 8 pixels one way and 8 about the opposite way, however it turns: standing, say, or out of sight."""
    out_T2, back_T2 = facts.world_T2 - facts.world_T2[0], facts.world_T2[-1] - facts.world_T2
    out_T, back_T = np.hypot(*out_T2.T), np.hypot(*back_T2.T)
    opposite_T = (out_T2 * back_T2).sum(1) <= -0.7 * out_T * back_T
    return bool((opposite_T & (out_T >= 8) & (back_T >= 8)).any())


def there_and_back(direction: str, facts: Facts) -> Truth:
    """First that way, then back: whether in mid-air or at the border."""
    turned = _turns_back(facts, -5, np.inf)
    if turned:
        out_2 = facts.world_T2[reversal_of(facts)] - facts.world_T2[0]
        along = out_2 @ np.array(DIRECTIONS[direction]) / np.hypot(*out_2)
        return True if along > 0.85 else False if along < 0.3 else None
    return turned


def circles(facts: Facts) -> Truth:
    """Bends one way all the time, by 270° or more in all; false where it bends by less than 120°."""
    bends = facts.turns()
    if not np.isnan(bends).any() and abs(bends.sum()) >= 240 and (bends * np.sign(bends.sum()) > 15).all():
        return True
    return False if _bend(facts) < 120 else None


def curves(facts: Facts) -> Truth:
    """Bends one way, evenly, by 50° to 140°; false where it goes straight, or back the way it came."""
    bends = facts.turns()
    if not np.isnan(bends).any():
        one_way = (bends * np.sign(bends.sum()) > 3).all() and abs(bends).max() < 35
        if one_way and 50 <= abs(bends.sum()) <= 140:
            return True
    moving = bends[~np.isnan(bends)]
    return False if ((abs(moving) < 4) | (abs(moving) > 170)).all() else None


def _bend(facts: Facts) -> float:
    """Degrees by which it bends one way in all, turning back not included."""
    bends = np.nan_to_num(facts.turns())
    return float(abs(bends[abs(bends) < 100].sum()))


def enters(facts: Facts) -> Truth:
    """Not there at the start, comes well into the image; false where it is there at the start and never away."""
    if facts.gone_T[0] and (facts.coverage_T >= WELL_SEEN).any():
        return True
    return False if facts.coverage_T[0] >= 0.8 and _never_returns(facts) else None


def leaves(facts: Facts) -> Truth:
    """Well in the image at some time, and gone at the end; false where it is there to the end and never away."""
    if facts.gone_T[-1] and (facts.coverage_T >= WELL_SEEN).any():
        return True
    return False if facts.coverage_T[-1] >= 0.8 and _never_returns(facts) else None


def _never_returns(facts: Facts) -> bool:
    away_T = facts.coverage_T < 0.3
    first, last = np.argmin(away_T), len(away_T) - np.argmin(away_T[::-1])
    return not away_T[first:last].any()


def returns(facts: Facts) -> Truth:
    """In the image, gone, and in it again."""
    there_T = facts.coverage_T >= 0.5
    if not there_T.any():
        return None
    first, last = np.argmax(there_T), len(there_T) - np.argmax(there_T[::-1])
    if facts.gone_T[first:last].sum() >= 3:
        return True
    return False if (facts.coverage_T[first:last] > 0.3).all() else None


def hiding_of(facts: Facts) -> int | None:
    """The first frame in which a wall hides all of it, if it was in sight before."""
    hidden_T = (facts.coverage_T >= 0.95) & (facts.walled_T >= 0.99 * facts.coverage_T)
    t = int(np.argmax(hidden_T))
    return t if hidden_T[t] and (facts.sight_T[:t] >= 0.8).sum() >= 3 else None


def hides(facts: Facts) -> Truth:
    """Goes behind a wall until nothing of it is visible; false where a wall hides little or nothing of it."""
    if hiding_of(facts) is not None:
        return True
    return False if facts.walled_T.max() < 0.2 else None


def hides_and_reappears(facts: Facts) -> Truth:
    """Comes out again, wholly."""
    t = hiding_of(facts)
    if t is None:
        return hides(facts)
    after_T = facts.sight_T[t:]
    return True if (after_T >= 0.8).sum() >= 3 else False if after_T.max() == 0 else None


def hides_for_good(facts: Facts) -> Truth:
    """Is not seen again."""
    t = hiding_of(facts)
    if t is None:
        return hides(facts)
    return True if facts.sight_T[t:].max() == 0 else False if hides_and_reappears(facts) else None


def grows(facts: Facts) -> Truth:
    return _scales(facts.radius_T)


def shrinks(facts: Facts) -> Truth:
    return _scales(facts.radius_T[::-1])


def _scales(radius_T: Float) -> Truth:
    ratio = radius_T[-1] / radius_T[0]
    return True if ratio >= 1.5 else False if ratio <= 1.02 else None


def spins(facts: Facts) -> Truth:
    """Half a turn or more about itself; unclear for an object that looks the same at every angle."""
    sweep = np.ptp(facts.angle_T)
    if sweep == 0:
        return False
    return True if sweep >= 180 and facts.spin_shows else None


def lies(direction: str, facts: Facts) -> Truth:
    """In that part of the image whenever it is in it; false where always in the other half."""
    unit = np.array(DIRECTIONS[direction])
    half_2 = np.array([facts.size[1], facts.size[0]]) / 2
    offset_T = ((facts.image_T2 - half_2) @ unit)[~facts.gone_T]
    if len(offset_T) and (offset_T >= 0.25 * (abs(unit) @ half_2)).all():
        return True
    return False if (offset_T <= 0).all() else None


def _agreed(world: Truth, image: Truth) -> Truth:
    return world if world is image else None
