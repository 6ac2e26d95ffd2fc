"""A workspace in which every stage has run once undisturbed, and what that left: the reference of all that is disturbed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from support.chaos_plan import NOT_STATE, Content, Step, contents, is_temporary, make_place, remove
from support.chaos_runs import Ended, Kill, run, tell, warm

TRAININGS = ("train_selector", "train_seg")
# What a training leaves beside its result: times, and the state that it goes on from.
OF_A_TRAINING = ("checkpoint.pt", "curve.jsonl", "trackers.json", "tensorboard", "training.json")


@dataclass(frozen=True)
class Known:
    """What an undisturbed run of a step makes, and takes."""

    contents: dict[str, Content]
    seconds: float
    cpu_seconds: float
    changes: int


class Site:
    """Steps that have run, and what is wrong with them later.

    Attributes:
        place: the workspace, in which this process is.
        random: every choice is drawn from it.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.place, self.runs = make_place(folder / "project"), folder / "runs"
        self.random = Random(seed)
        self.known: dict[str, Known] = {}
        self.wrong: list[str] = []
        os.chdir(self.place)
        _make_small()

    def learn(self, plan: Sequence[Step], *, twice: bool) -> None:
        """Runs every step undisturbed; again, for what it takes in a process that has imported everything."""
        for step in plan:
            ended = self.run(step)
            assert ended.status == 0, f"{step.name}: {ended.status} {ended.said[-3000:]}"
            first = self.there(step)
            assert first, f"{step.name}: nothing is in {step.makes}"
            warm(ended.modules)
            if twice:
                remove(self.place, step)
                ended = self.run(step)
                self.note(self.there(step) == first, step, "a second undisturbed run leaves other bytes")
            self.known[step.name] = Known(first, ended.seconds, ended.cpu_seconds, ended.changes)
            facts = {"files": len(first), "changes": ended.changes, "cpu_seconds": round(ended.cpu_seconds, 2)}
            tell("known", step=step.name, seconds=round(ended.seconds, 2), **facts)

    def run(self, step: Step, kill: Kill | None = None, **options: Any) -> Ended:
        return run(step.command, self.runs, kill, **options)

    def there(self, step: Step) -> dict[str, Content]:
        """What a step has made, as far as it is the same in every run."""
        return contents(self.place, step.makes, OF_A_TRAINING if step.stage in TRAININGS else NOT_STATE)

    def differences(self, step: Step) -> list[str]:
        """Paths of what is other than after an undisturbed run."""
        there, whole = self.there(step), self.known[step.name].contents
        return sorted(name for name in there.keys() | whole.keys() if there.get(name) != whole.get(name))

    def temporaries(self, step: Step) -> list[str]:
        places = [self.place / name for name in step.makes]
        below = [str(p.relative_to(self.place)) for path in places for p in path.rglob("*") if is_temporary(p.name)]
        return below + [path.name for place in places for path in place.parent.glob(f".{place.name}.*.tmp")]

    def note(self, fine: bool, step: Step | str, what: str) -> None:
        """Keeps what is wrong, if it is."""
        name = step if isinstance(step, str) else step.name
        if not fine:
            self.wrong.append(f"{name}: {what}")
            tell("wrong", step=name, what=what)


def _make_small() -> None:
    """What is generated is small, and a training writes a checkpoint after each step.

    The commit that results name is that of the code in this process, whatever happens to the checkout in the meantime.
    """
    import stages.make_shapes
    from stages.core.state import provenance
    from stages.training import loop

    this = provenance.commit()
    provenance.commit = lambda: this

    stages.make_shapes.SIZES["demo"] = {"train": 1, "dev": 0, "valid_u": 1, "valid": 0}
    loop.CHECKPOINT_SECONDS = 0.0
