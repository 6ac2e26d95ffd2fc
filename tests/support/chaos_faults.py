"""What else happens to a run: two writers, full disks, read-only places, files that vanish, clocks that jump, damaged files.

Each time the message names place and fix, nothing damaged is used, and the run after it leaves the bytes of an undisturbed
one.
"""

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.chaos_damage import DAMAGES, NOTES
from support.chaos_plan import READERS, Step, identities, remove
from support.chaos_runs import Ended, start, tell, wait
from support.chaos_site import Site

from benchmarks.corruption import content_of, outcome
from stages.core.state.cache import read_stamp
from stages.core.state.graph import STAGES

QUICK = ("extract_frames", "score_tracks", "rerank_tracks", "evaluate")
FUTURE, PAST = 4_102_444_800, 86_400  # 2100 and 1970, in seconds


class Faults:
    """Disturbs the stages of a site, one fault at a time."""

    def __init__(self, site: Site, plan: Sequence[Step], *, quick: bool) -> None:
        """`quick`: only on stages that load no model."""
        self.site, self.place, self.random, self.plan = site, site.place, site.random, plan
        self.among = [step for step in plan if step.name in READERS and (not quick or step.stage in QUICK)]
        self.counts: Counter[str] = Counter()
        self.skipped: dict[str, str] = {}

    def all(self, rounds: int) -> None:
        """Every kind of fault so often, each time on another stage that leaves a file per video."""
        kinds: dict[str, Callable[[Step], None]] = {
            "two writers on one shard": self.two_writers,
            "a disk that fills up": self.full_disk,
            "results that turn read-only": self.read_only_results,
            "data that turn read-only": self.read_only_data,
            "a file that vanishes": self.vanished,
            "a clock that jumps": self.other_times,
            "a file in another's place": self.swapped,
        }
        for name in DAMAGES:
            kinds[f"damaged: {name}"] = lambda step, name=name: self.damaged(step, name)
        try:
            for number in range(rounds):
                for place, (kind, disturb) in enumerate(kinds.items()):
                    self.once(kind, disturb, self.among[(number + place) % len(self.among)])
        finally:
            total = sum(n for kind, n in self.counts.items() if not kind.startswith("of these"))
            tell("faults", total=total, kinds=dict(self.counts), skipped=self.skipped)

    def once(self, kind: str, disturb: Callable[[Step], None], step: Step) -> None:
        try:
            disturb(step)
        except Impossible as error:
            self.skipped[kind] = str(error)
            return
        self.counts[kind] += 1
        tell("fault", fault=kind, step=step.name)
        self.same(step, f"after {kind}")

    def flip_bits(self, per_stage: int) -> None:
        """A bit of every so many bytes of a file of each stage, so that every structure of its format is hit: found by the
        stage that made it, or in bytes that say nothing."""
        ends: Counter[str] = Counter()
        for step in self.among:
            names = [name for name in self.site.there(step) if Path(name).suffix == STAGES[step.stage].suffix]
            path, stage = self.place / min(names), STAGES[step.stage]
            copy, whole = self.site.runs / f"copy{stage.suffix}", path.read_bytes()
            expected, content = read_stamp(path, stage.name), content_of(path, stage)
            stride = max(1, len(whole) // per_stage)
            for at in range(self.random.randrange(stride), len(whole), stride):
                bit = 1 << self.random.randrange(8)
                copy.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
                end = outcome(copy, stage, content, expected)
                ends[end] += 1
                self.site.note(end != "wrong", step, f"bit {bit} of byte {at} of {path.name} is read as other content")
        tell("bits", flipped=sum(ends.values()), found=ends["found"], in_bytes_that_say_nothing=ends["harmless"])

    # ------------------------------------------------------------ checks

    def same(self, step: Step, when: str) -> None:
        other, left = self.site.differences(step), self.site.temporaries(step)
        self.site.note(not other, step, f"other bytes than undisturbed {when}: {other[:4]}")
        self.site.note(not left, step, f"temporary files {when}: {left[:3]}")
        if other or left:  # what follows begins from the reference again
            remove(self.place, step)
            self.site.run(step)

    def fine(self, step: Step, when: str) -> Ended:
        ended = self.site.run(step)
        self.site.note(ended.status == 0, step, f"status {ended.status} {when}: {ended.said[-800:]}")
        return ended

    def refused(self, step: Step, ended: Ended, when: str, *words: str) -> None:
        """An error that names place and fix, without a traceback; and nothing of it under a final name."""
        said = " ".join(ended.said.split())
        self.site.note(ended.status in (1, 2), step, f"status {ended.status} {when}: {said[-800:]}")
        self.site.note(
            "Traceback" not in said and not ended.hung, step, f"a traceback or a hang {when}: {said[-1500:]}"
        )
        lacking = [word for word in words if word not in said]
        self.site.note(not lacking, step, f"does not say {lacking} {when}: {said[-800:]}")
        self.whole_or_absent(step, when)

    def whole_or_absent(self, step: Step, when: str) -> None:
        whole = self.site.known[step.name].contents
        partial = [
            name
            for name, content in self.site.there(step).items()
            if whole.get(name) != content and Path(name).name != NOTES
        ]
        self.site.note(not partial, step, f"partial files {when}: {partial[:3]}")

    # ------------------------------------------------------------ faults

    def two_writers(self, step: Step) -> None:
        remove(self.place, step)
        both = [start(step.command, self.site.runs)]
        time.sleep(self.random.uniform(0, self.site.known[step.name].seconds / 2))
        both.append(start(step.command, self.site.runs))
        for ended in map(wait, both):
            self.site.note(ended.status == 0, step, f"two writers: status {ended.status}: {ended.said[-800:]}")

    def full_disk(self, step: Step) -> None:
        folder = self.place / step.makes[0]
        remove(self.place, step)
        with mounted(folder, "tmpfs", f"size={4096 * self.random.randint(1, 2)},nr_inodes={self.random.randint(3, 5)}"):
            self.refused(step, self.site.run(step), "on a full disk", "no space left on", str(folder), "free some")
            mount("-o", "remount,size=64m,nr_inodes=10000", str(folder))
            self.fine(step, "once there is room again")
            self.same(step, "once there is room again")
        self.fine(step, "on another disk")

    def read_only_results(self, step: Step) -> None:
        folder = self.place / self.random.choice([step.makes[0], "results"])
        remove(self.place, step)
        folder.mkdir(parents=True, exist_ok=True)
        with read_only(folder):
            self.refused(step, self.site.run(step), f"with {folder} read-only", "results/", "check its rights")
        self.fine(step, "once it can be written to")

    def read_only_data(self, step: Step) -> None:
        remove(self.place, step)
        with read_only(self.place / "data"):
            self.fine(step, "with read-only data")

    def vanished(self, step: Step) -> None:
        """A file of an earlier stage is gone: named, or not needed."""
        earlier = [one for one in self.plan[: self.plan.index(step)] if READERS.get(one.name) == step.name]
        if not earlier:
            step, earlier = next(one for one in self.plan if one.name == READERS[step.name]), [step]
        name = self.random.choice(sorted(self.site.there(earlier[-1])))
        path, aside = self.place / name, self.place / "aside"
        remove(self.place, step)
        path.rename(aside)
        try:
            ended = self.site.run(step)
            if ended.status != 0:
                self.refused(step, ended, f"without {name}", Path(name).name, f"python -m stages.{earlier[-1].stage}")
        finally:
            aside.rename(path)
        self.fine(step, "once the file is back")
        self.same(step, "once the file is back")

    def other_times(self, step: Step) -> None:
        """Times of files say nothing about their content: nothing is made again, nothing is passed over."""
        names = sorted(self.site.there(step))
        for name in names:
            seconds = self.random.choice((FUTURE, PAST))
            os.utime(self.place / name, (seconds, seconds), follow_symlinks=False)
        before = identities(self.place, names)
        self.fine(step, "with other times")
        self.site.note(identities(self.place, names) == before, step, "files of another time were made again")
        for path in self.random.sample(names, len(names) // 2):
            (self.place / path).unlink()
        self.fine(step, "with other times, and half of it gone")

    def swapped(self, step: Step) -> None:
        """Whole, and another video's: the stage that makes it sees that; the one that reads it takes its word."""
        suffix = STAGES[step.stage].suffix
        one, other = self.random.sample(
            sorted(n for n in self.site.there(step) if n.count("/") == step.makes[0].count("/") + 1), 2
        )
        assert one.endswith(suffix) and other.endswith(suffix)
        (self.place / one).unlink()
        (self.place / one).write_bytes((self.place / other).read_bytes())
        self.fine(step, "with another video's file")

    def damaged(self, step: Step, kind: str) -> None:
        """Found by the stage that reads it, and made again by the stage that made it."""
        names = [name for name, (what, _) in self.site.there(step).items() if what == "file"]
        path = self.place / self.random.choice(sorted(names))
        whole = path.read_bytes()
        DAMAGES[kind](self.random, path)
        reader = next(one for one in self.plan if one.name == READERS[step.name])
        remove(self.place, reader)
        ended = self.site.run(reader)
        if ended.status != 0:
            self.refused(reader, ended, f"with {path.name} damaged ({kind})", path.stem.split("_")[0], step.stage)
        else:
            self.same(reader, f"with {path} damaged ({kind})")
        ended = self.site.run(step)
        if ended.status != 0:  # what is not ours to remove, a person does
            self.refused(step, ended, f"where {path.name} is {kind}", str(path.relative_to(self.place)), "clear it")
            shutil.rmtree(path)
            self.fine(step, f"once {path.name} was cleared")
        self.fine(reader, f"once {path.name} was made again")
        self.same(reader, f"once {path.name} was made again ({kind})")
        if path.read_bytes() != whole and self.says_the_same(step, path, whole):
            self.counts["of these, in bytes that say nothing"] += 1
            path.unlink()
            path.write_bytes(whole)

    def says_the_same(self, step: Step, path: Path, whole: bytes) -> bool:
        """Whether every value in a file is what was written; HDF5 has bytes that it never reads."""
        if path.suffix not in (".h5", ".json") or step.stage not in STAGES:
            return False
        aside = self.site.runs / path.name
        aside.write_bytes(whole)
        return bool(content_of(path, STAGES[step.stage]) == content_of(aside, STAGES[step.stage]))


# ---------------------------------------------------------------- places


class Impossible(Exception):
    """A fault that cannot be made here."""


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    if done.returncode:
        raise Impossible(f"mounting is not allowed here ({done.stderr.strip()})")


@contextmanager
def mounted(folder: Path, kind: str, options: str) -> Iterator[None]:
    if shutil.which("mount") is None:
        raise Impossible("no command `mount`")
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", kind, "-o", options, kind, str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """By rights, which root does not heed, or by a mount."""
    if os.getuid() != 0:
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)
