"""The entries of a report: one per expression, with how its answer turned out and what it cost.

| outcome | meaning |
|---|---|
| right | nothing was said where there is nothing; or J&F is at least 0.5, and a perfect choice of the tracks is hardly better |
| partly | J&F is at least 0.5, but a perfect choice would have been better by 0.1 or more |
| wrong choice | J&F is below 0.5, and a perfect choice would have been better by 0.1 or more (or none is known) |
| weak tracks | J&F is below 0.5, and no choice of these tracks is much better |
| missed | there is a target, and nothing was said |
| false alarm | something was said where there is no target |
| not scored | no ground truth, or not evaluated yet |

What an answer cost is 1 − J&F. Where the oracle is known, it is split: what the choice lost, and what the tracks lost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.core.records import Expression
from stages.report.motion import motion_words

SOUND, MUCH = 0.5, 0.1
RIGHT, PARTLY, WRONG, WEAK = "right", "partly", "wrong choice", "weak tracks"
MISSED, ALARM, UNSCORED = "missed", "false alarm", "not scored"
OUTCOMES = (WRONG, MISSED, ALARM, WEAK, PARTLY, RIGHT, UNSCORED)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """An expression and its answer.

    Attributes:
        video: its id; `frames`: how many it has.
        row: of `stages.evaluate`; None = not evaluated.
        oracle: J&F of the best union of its tracks; None = not known.
        other: its row in the run that is compared; None = there is none.
    """

    video: str
    frames: int
    expression: Expression
    row: Row | None = None
    oracle: float | None = None
    other: Row | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.video, self.expression.id

    @property
    def jf(self) -> float | None:
        return None if self.row is None else self.row["J&F"]

    @property
    def other_jf(self) -> float | None:
        return None if self.other is None else self.other["J&F"]

    @property
    def change(self) -> float | None:
        """How much better this run is than the other."""
        return None if self.jf is None or self.other_jf is None else self.jf - self.other_jf

    @property
    def objects(self) -> int | None:
        """How many the expression refers to; None = unknown."""
        return None if self.expression.annotations is None else len(self.expression.annotations)

    @property
    def words(self) -> int:
        return len(self.expression.text.split())

    @property
    def motion(self) -> tuple[str, ...]:
        return motion_words(self.expression.text)

    @property
    def cost(self) -> float | None:
        return None if self.jf is None else 1 - self.jf

    @property
    def lost_by_choice(self) -> float | None:
        return None if self.jf is None or self.oracle is None else max(self.oracle - self.jf, 0.0)

    @property
    def lost_by_tracks(self) -> float | None:
        return None if self.jf is None or self.oracle is None else 1 - max(self.oracle, self.jf)

    @property
    def outcome(self) -> str:
        if self.row is None or self.jf is None:
            return UNSCORED
        empty = self.row["predicted_empty"]
        if self.row["no_target"]:
            return RIGHT if empty else ALARM
        if empty:
            return MISSED
        much = self.lost_by_choice is not None and self.lost_by_choice >= MUCH
        if self.jf >= SOUND:
            return PARTLY if much else RIGHT
        return WRONG if much or self.oracle is None else WEAK


def by_cost(entries: list[Entry]) -> list[Entry]:
    """The entries with a score, most costly first; ties in the order of the data set."""
    return sorted((e for e in entries if e.cost is not None), key=lambda e: -(e.cost or 0.0))
