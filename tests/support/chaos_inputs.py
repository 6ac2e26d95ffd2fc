"""Broken input at every door: each ends in one sentence that names it, or in a listed skip.

No traceback, no hang; nothing is written outside the folders for results, and nothing in a file is executed. Inputs are
drawn by `chaos_files`, `chaos_words` and `chaos_models`; each runs in a process of its own.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from support.chaos_runs import Command, Ended, run, tell
from support.chaos_site import Site

LIMIT_SECONDS = 60.0  # a run takes a second or two
OURS = ("results", "weights", "runs")  # written to by right
ENDS = {0: "listed or harmless", 1: "listed as failed", 2: "refused"}
STATUSES = tuple(ENDS)


@dataclass(frozen=True)
class Input:
    """Something broken, and the command that meets it.

    Attributes:
        door: where it comes in, as "config" or "zip".
        what: is wrong with it.
        command: reads it.
        plant: makes it; the current folder is the workspace.
        names: what an error may call it by: one of them; none = any text.
        clear: takes it away again.
    """

    door: str
    what: str
    command: Command
    plant: Callable[[], None]
    names: tuple[str, ...] = ()
    clear: Callable[[], None] = lambda: None


class Inputs:
    """Feeds broken input to the commands of a site."""

    def __init__(self, site: Site) -> None:
        self.site, self.place = site, site.place
        self.counts: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.canary = site.place / "executed"
        self.scratch = site.place / "scratch"
        self.scratch.mkdir(exist_ok=True)
        self.pristine = site.runs / "pristine"
        _link_tree(Path("results"), self.pristine)
        self.sound = listing(Path("results"))

    def feed(self, inputs: Sequence[Input]) -> None:
        before_tmp = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.scratch)
        try:
            for one in inputs:
                self.feed_one(one)
        finally:
            tempfile.tempdir = None
            os.environ.pop("TMPDIR") if before_tmp is None else os.environ.update(TMPDIR=before_tmp)
            tell("inputs", total=sum(self.counts.values()), doors=dict(self.counts), ends=dict(self.ends))

    def feed_one(self, one: Input) -> None:
        one.plant()
        before = listing(self.place)
        ended = run(one.command, self.site.runs, limit=LIMIT_SECONDS)
        after = listing(self.place)
        self.counts[one.door] += 1
        self.ends[ENDS.get(ended.status, "stopped with a traceback")] += 1
        for complaint in self.complaints(one, ended, before, after):
            where = f"{one.door}: {one.what}: {one.command.module} {' '.join(one.command.words)[:200]}"
            self.site.note(False, where, complaint)
        self.canary.unlink(missing_ok=True)
        one.clear()
        if listing(Path("results")) != self.sound:  # what came of it is no input of the next one
            shutil.rmtree("results")
            _link_tree(self.pristine, Path("results"))
            self.sound = listing(Path("results"))

    def complaints(self, one: Input, ended: Ended, before: set[str], after: set[str]) -> Iterator[str]:
        if ended.hung:
            yield f"hangs for {LIMIT_SECONDS:g} s: {ended.said[-300:]}"
        if self.canary.exists():
            yield "something in it was executed"
        if before != after:
            yield f"files outside results changed: {sorted(before ^ after)[:4]}"
        if not ended.hung:
            yield from _unclear(one, ended)


def _unclear(one: Input, ended: Ended) -> Iterator[str]:
    """What is wrong with how an input was answered."""
    said = " ".join(ended.said.split())
    if ended.status not in STATUSES or "Traceback" in said:
        yield f"status {ended.status}, or a traceback: {ended.said[-1800:]}"
    elif ended.status and not said:
        yield "says nothing"
    elif ended.status and one.names and not any(name in ended.said for name in one.names):
        yield f"is not named ({', '.join(one.names)}): {said[-500:]}"


def mixed(random: Random, made: Sequence[Input], drawn: Iterator[Input]) -> Iterator[Input]:
    """Inputs that were thought of, in any order, and endless ones that are drawn, in turn."""
    thought_of = iter(random.sample(made, len(made)))
    while True:
        yield from islice(thought_of, 1)
        yield next(drawn)


def listing(place: Path) -> set[str]:
    """Every file, folder and link that a command must leave alone, with what tells a changed one."""
    there = set()
    for folder, folders, files in os.walk(place):
        if Path(folder) == place:
            folders[:] = [name for name in folders if name not in OURS]
        for name in (*folders, *files):
            path = Path(folder, name)
            facts = path.lstat()
            there.add(f"{path.relative_to(place)} {facts.st_mode} {facts.st_ino} {_size(path, facts)}")
    return there


def _link_tree(source: Path, target: Path) -> None:
    """A tree of hard links: nothing in a cache is changed in place."""
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)


def _size(path: Path, facts: os.stat_result) -> str:
    return "" if path.is_dir() else f"{facts.st_size} {facts.st_mtime_ns}"


def remover(path: Path) -> Callable[[], None]:
    """Removes whatever is at a path, later."""

    def remove() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    return remove


def writer(path: Path, content: bytes) -> Callable[[], None]:
    """Writes a file, later."""

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return write


def replacer(path: Path, content: bytes | None) -> tuple[Callable[[], None], Callable[[], None]]:
    """Gives a file another content (None = it is gone), and its own again; both later."""
    kept: list[bytes] = []

    def replace() -> None:
        kept.append(path.read_bytes())
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    def restore() -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(kept.pop())

    return replace, restore
