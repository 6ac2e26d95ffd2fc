"""Kills whole runs of the workflow, the process that leads it or a stage at work, and dates its markers anew in between.

The run that ends well has made what undisturbed stages make, and the next one has nothing to do.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.chaos_faults import FUTURE, PAST
from support.chaos_plan import Step
from support.chaos_runs import tell
from support.chaos_site import Site

TARGET = "results/tiny/valid_u"
LIMIT_SECONDS = 3600.0
LOOKED_AT_APART = (
    "provenance.json",
    ".snakemake_timestamp",
)  # the second is Snakemake's, which alone stages do not write
STATUSES = {signal.SIGKILL: (-9,), signal.SIGTERM: (0, 1, 143, -15), signal.SIGINT: (1, 130, -2)}


class WholeRuns:
    """Makes all results of a site again through `referee run`, which is killed so many times on the way."""

    def __init__(self, site: Site, plan: Sequence[Step]) -> None:
        self.site, self.plan, self.random = site, plan, site.random
        self.kills: Counter[str] = Counter()

    def kill(self, kills: int) -> None:
        self.made_by = self.provenance()
        self.start_over()
        try:
            self.kill_and_finish(kills)
        finally:
            tell("runs", kills=sum(self.kills.values()), victims=dict(self.kills))

    @staticmethod
    def start_over() -> None:
        shutil.rmtree("results")
        shutil.rmtree("weights")

    def kill_and_finish(self, kills: int) -> None:
        started, longest = time.monotonic(), 20.0
        while sum(self.kills.values()) < kills and time.monotonic() - started < LIMIT_SECONDS:
            began = time.monotonic()
            if self.run_and_kill(longest):
                self.compare()
                self.start_over()
                continue
            longest = min(90.0, max(longest, 1.5 * (time.monotonic() - began)))
            self.date_anew()
        done = self.referee()
        self.site.note(done.returncode == 0, "run", f"does not end well after kills: {done.stderr[-3000:]}")
        self.compare()
        again = self.referee("-n")
        said = again.stdout + again.stderr
        self.site.note("Nothing to be done" in said, "run", f"more to do after it ended: {said[-2000:]}")

    def run_and_kill(self, longest: float) -> bool:
        """Whether the run ended well before it could be killed."""
        head = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        head_alone, number = self.random.random() < 0.6, self.random.choice(list(STATUSES))
        with suppress(subprocess.TimeoutExpired):
            head.wait(self.random.uniform(3.0, longest))
            return head.communicate() and head.returncode == 0
        victims = [] if head_alone else list(_stages_at_work())
        if victims:
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(victims), signal.SIGKILL)
            self.kills["a stage, SIGKILL"] += 1
            head.send_signal(signal.SIGINT)
            number = signal.SIGINT
        else:
            head.send_signal(number)
            self.kills[f"the run, {number.name}"] += 1
        said = head.communicate(timeout=600)[1]
        self.site.note(head.returncode in STATUSES[number], "run", f"status {head.returncode} after {number.name}")
        self.site.note("Traceback" not in said, "run", f"a traceback after {number.name}: {said[-1500:]}")
        tell("killed", victim="stage" if victims else number.name, status=head.returncode)
        if number == signal.SIGKILL:
            self.unlock()
        return False

    def unlock(self) -> None:
        locked = self.referee()
        words = " ".join(locked.stderr.split())
        if locked.returncode:
            named = "is locked by a run that was killed" in words and "referee run --unlock" in words
            self.site.note(named, "run", f"a killed run is not explained: {words[-800:]}")
            self.referee("--unlock", targets=False)

    def date_anew(self) -> None:
        """Markers as a machine with another clock would have dated them."""
        markers = [
            p
            for folder in ("shards", "done")
            for p in Path("results/cache").glob(f"tiny/*/{folder}/**/*")
            if p.is_file()
        ]
        for path in self.random.sample(sorted(markers), len(markers) // 2):
            seconds = self.random.choice((PAST, FUTURE))
            os.utime(path, (seconds, seconds))

    @staticmethod
    def provenance() -> dict[str, Any]:
        """What says how results were made; not the commit, which belongs to the checkout."""
        return {**json.loads(Path(TARGET, "provenance.json").read_text(encoding="utf-8")), "commit": None}

    def compare(self) -> None:
        if Path(TARGET).is_dir():
            here, there = self.provenance(), self.made_by  # there only some tasks were verified
            here["tasks"] = {task: videos for task, videos in here["tasks"].items() if task in there["tasks"]}
            self.site.note(here == there, "assemble", f"another provenance after runs were killed: {here}, not {there}")
        for step in self.plan:
            if step.makes[0].startswith(("results", "weights")):
                other = [name for name in self.site.differences(step) if Path(name).name not in LOOKED_AT_APART]
                other = [name for name in other if "/done/" not in name or not Path(name).exists()]
                self.site.note(not other, step, f"other bytes after runs were killed: {other[:4]}")
                left = self.site.temporaries(step)
                self.site.note(not left, step, f"temporary files after runs were killed: {left[:3]}")

    def command(self, *words: str, targets: bool = True) -> list[str]:
        flags = ["--cores", "2", "--configfile", "tiny.yaml", *words]
        return [sys.executable, "-m", "stages", "run", *flags, *([TARGET] if targets else [])]

    def referee(self, *words: str, targets: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words, targets=targets), capture_output=True, text=True)


def _stages_at_work() -> Iterator[int]:
    """Processes that rules of this folder have started."""
    here = Path.cwd().resolve()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = b"REFEREE_CONFIG=" in (entry / "environ").read_bytes() and (entry / "cwd").resolve() == here
            if ours and b"-m" in words and words[words.index(b"-m") + 1].startswith(b"stages."):
                yield int(entry.name)
