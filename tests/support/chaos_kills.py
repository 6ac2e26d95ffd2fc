"""Kills stages at random moments, and says what is wrong with what they leave.

After each kill a file under its final name holds what it holds after an undisturbed run, and what was finished before it
was not made again; what is ended by SIGTERM or SIGINT ends by itself and leaves no temporary file; the run that ends well
leaves the bytes of the undisturbed one, and nothing else.
"""

import signal
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.chaos_plan import Step, identities, is_temporary, remove
from support.chaos_runs import Ended, Kill, tell
from support.chaos_site import TRAININGS, Known, Site

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STATUSES = {signal.SIGKILL: (-9,), signal.SIGTERM: (143, -15), signal.SIGINT: (130,)}
KILLS_PER_ROUND = 6


@dataclass
class Tally:
    """What the kills of a stage came to."""

    kills: Counter[str] = field(default_factory=Counter)
    lost_seconds: float = 0.0
    slowest_end: float = 0.0


class Kills:
    """Kills the stages of a site."""

    def __init__(self, site: Site, *, timed: bool) -> None:
        """`timed`: half of the signals come after some milliseconds, and what they meet depends on the machine's load."""
        self.site, self.place, self.random, self.timed = site, site.place, site.random, timed
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.by_sigkill: set[str] = set()  # temporary files that are there because a run could not remove them

    def kill(self, plan: Sequence[Step], kills: int) -> None:
        """So many, spread over all steps, which take turns; it lets each finish every few kills."""
        left = {step.name: kills // len(plan) + (number < kills % len(plan)) for number, step in enumerate(plan)}
        fruitless: Counter[str] = Counter()
        try:
            while at_work := [one for one in plan if left[one.name] > 0 and fruitless[one.name] < 20]:
                for step in at_work:
                    survived = self.one_round(step, min(KILLS_PER_ROUND, left[step.name]), self.tallies[step.stage])
                    left[step.name] -= survived
                    fruitless[step.name] = 0 if survived else fruitless[step.name] + 1
        finally:
            self.tell_figures()

    def draw(self, known: Known) -> Kill:
        number = self.random.choice(SIGNALS)
        if not self.timed or self.random.random() < 0.5:
            return Kill(number, change=self.random.randint(1, max(1, known.changes)))
        return Kill(number, seconds=self.random.uniform(0, known.seconds))

    def one_round(self, step: Step, kills: int, tally: Tally) -> int:
        remove(self.place, step)
        known, cpu, survived = self.site.known[step.name], 0.0, 0
        while True:
            finished = identities(self.place, [name for name in self.site.there(step) if self.is_finished(step, name)])
            kill = self.draw(known) if survived < kills else None
            ended = self.site.run(step, kill)
            cpu += ended.cpu_seconds
            self.check_kept(step, finished)
            if kill is None or ended.status == 0:
                break
            survived += 1
            tally.kills[kill.signal.name] += 1
            self.check_killed(step, kill, ended)
        self.check_finished(step, ended)
        tally.lost_seconds += max(0.0, cpu - known.cpu_seconds)
        tell("round", step=step.name, kills=survived, lost=round(cpu - known.cpu_seconds, 2))
        return survived

    def is_finished(self, step: Step, name: str) -> bool:
        """Whether a file must not be made again: those of a folder are vouched for by a record beside it."""
        below = (self.place / name).relative_to(self.place / step.makes[0]).parts
        return (
            not is_temporary(name)
            and not is_aside(name)
            and (len(below) < 2 or (self.place / step.makes[0] / f"{below[0]}.json").exists())
        )

    def check_killed(self, step: Step, kill: Kill, ended: Ended) -> None:
        self.site.note(not ended.hung, step, f"hung after {kill}")
        self.site.note(
            ended.status in STATUSES[kill.signal], step, f"status {ended.status} after {kill}: {ended.said[-800:]}"
        )
        self.site.note("Traceback" not in ended.said, step, f"a traceback after {kill}: {ended.said[-1500:]}")
        if step.stage not in TRAININGS:
            whole = self.site.known[step.name].contents
            partial = [
                n
                for n, c in self.site.there(step).items()
                if not is_temporary(n) and not is_aside(n) and whole.get(n) != c
            ]
            self.site.note(not partial, step, f"not what an undisturbed run leaves, after {kill}: {partial[:3]}")
        if kill.signal != signal.SIGKILL and ended.status > 0:
            left = [name for name in self.site.temporaries(step) if name not in self.by_sigkill]
            self.site.note(not left, step, f"temporary files after {kill}: {left[:3]}")
        self.by_sigkill = set(self.site.temporaries(step))

    def check_kept(self, step: Step, finished: dict[str, tuple[int, int]]) -> None:
        if step.per_video:
            again = {n for n, i in identities(self.place, list(finished)).items() if finished[n] != i}
            gone = set(finished) - {n for n in finished if (self.place / n).is_symlink() or (self.place / n).exists()}
            self.site.note(
                not again | gone, step, f"a finished file was made again or lost: {sorted(again | gone)[:3]}"
            )

    def check_finished(self, step: Step, ended: Ended) -> None:
        self.site.note(ended.status == 0, step, f"does not finish after kills: {ended.status} {ended.said[-1500:]}")
        there, whole = self.site.there(step), self.site.known[step.name].contents
        other = sorted(n for n in there.keys() | whole.keys() if there.get(n) != whole.get(n))
        self.site.note(not other, step, f"other bytes than undisturbed: {other[:5]}")
        left = self.site.temporaries(step)
        self.site.note(not left, step, f"temporary files after all ended well: {left[:3]}")
        self.by_sigkill = set()

    def tell_figures(self) -> None:
        for stage, tally in self.tallies.items():
            kills = sum(tally.kills.values())
            lost = round(tally.lost_seconds / max(kills, 1), 2)
            tell("stage", stage=stage, kills=kills, signals=dict(tally.kills), lost_seconds_per_kill=lost)
        total = sum(sum(tally.kills.values()) for tally in self.tallies.values())
        lost = sum(tally.lost_seconds for tally in self.tallies.values())
        tell("kills", kills=total, lost_seconds_per_kill=round(lost / max(total, 1), 2))


def is_aside(name: str) -> bool:
    """Whether a file keeps what there is of an unfinished video, as answers of an MLLM: it grows, and is gone or whole at last."""
    return Path(name).name.startswith(".")
