"""Disturbs a small pipeline and says what is wrong with how it takes it; prints a line of JSON per fact.

    OMP_NUM_THREADS=1 PYTHONPATH=.:tests python -m support.chaos --kills 500 --faults 8 --inputs 720 --runs 8 --seed 0

`make chaos` runs it at length. Everything is drawn from the seed, so a failure is repeated by the command that ended in it
(as far as the machine's load, which decides what a signal after so many milliseconds meets, does not matter). It goes through
stages and doors in turn, and ended early, by Ctrl-C or SIGTERM, it prints the figures of what it has done.
"""

import argparse
import resource
import signal
import tempfile
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path
from random import Random

from support.chaos_cache import cached, forged
from support.chaos_faults import Faults
from support.chaos_files import ids, indices, media
from support.chaos_inputs import Input, Inputs
from support.chaos_kills import Kills
from support.chaos_models import checkpoints, zips
from support.chaos_plan import Step, steps
from support.chaos_runs import end_early, tell
from support.chaos_site import Site
from support.chaos_whole import WholeRuns
from support.chaos_words import config, flags


def broken_inputs(number: int, seed: int) -> list[Input]:
    """So many, over all doors in turn; each door's are the same in every run with the seed."""
    random = Random(seed)
    doors: list[Iterator[Input]] = [config(random), flags(random), media(random), indices(random)]
    doors += [cached(random), forged(random), checkpoints(random), zips(random), ids(random)]
    drawn = [list(islice(door, -(-number // len(doors)))) for door in doors]
    return [one for turn in zip_longest(*drawn) for one in turn if one is not None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, help="a folder that is made, and stays (default: one that does not)")
    parser.add_argument("--kills", type=int, default=0, help="over all stages")
    parser.add_argument("--faults", type=int, default=0, help="rounds of each kind of fault")
    parser.add_argument("--inputs", type=int, default=0, help="broken ones, over all doors")
    parser.add_argument("--runs", type=int, default=0, help="kills of whole runs of the workflow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="not all stages: those that take little")
    parser.add_argument("--only", metavar="STAGE", help="the stages whose names begin so")
    arguments = parser.parse_args()
    tell("seed", seed=arguments.seed)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_early)
    with tempfile.TemporaryDirectory(prefix="referee-chaos-") as folder:
        return disturb(arguments, arguments.place or Path(folder, "place"))


def disturb(arguments: argparse.Namespace, place: Path) -> int:
    """Returns 1 where something was wrong, 130 where it was ended early."""
    site, plan, early = Site(place, arguments.seed), steps(arguments.short), False
    try:
        disturb_with(arguments, site, plan)
    except KeyboardInterrupt:
        early = True
    tell("end", wrong=len(site.wrong), ended_early=early, processor_seconds=round(processor_seconds()))
    return 1 if site.wrong else 130 if early else 0


def processor_seconds() -> float:
    """Of this process and all that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def disturb_with(arguments: argparse.Namespace, site: Site, plan: list[Step]) -> None:
    site.learn(plan, twice=not arguments.short)
    chosen = [step for step in plan if step.name.startswith(arguments.only or "")]
    if arguments.kills:
        Kills(site, timed=not arguments.short).kill(chosen, arguments.kills)
    if arguments.faults:
        faults = Faults(site, plan, quick=arguments.short)
        faults.all(arguments.faults)
        faults.flip_bits(100 * arguments.faults)
    if arguments.inputs:
        Inputs(site).feed(broken_inputs(arguments.inputs, arguments.seed))
    if arguments.runs:
        WholeRuns(site, steps(short=True)).kill(arguments.runs)


if __name__ == "__main__":
    raise SystemExit(main())
