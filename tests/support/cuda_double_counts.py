"""What a program asks of the CUDA double, counted by the source line of this project that asked for it."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = tuple(f"{ROOT / name}/" for name in ("stages", "benchmarks"))


@dataclass
class Counts:
    """Counters by source line, "tracking/bank.py:88 _index"; "?" where no line of the project is being run.

    Attributes:
        launches: kernels; a replayed graph is one.
        casts: of the launches, those that change nothing but the type of numbers.
        copies: copies that block: a host tensor that is not pinned, or a copy that is not `non_blocking`, in either
            direction; an index that is on the CPU; torch.tensor(…, device="cuda").
        syncs: other waits for the device: .item(), nonzero, indices of bool, synchronize().
    """

    launches: Counter[str] = field(default_factory=Counter)
    casts: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    syncs: Counter[str] = field(default_factory=Counter)

    @property
    def waits(self) -> Counter[str]:
        """Whatever makes the thread wait for the device."""
        return self.copies + self.syncs

    def of(self, file: str) -> "Counts":
        """The part of the lines in files that end in `file`."""
        mine = {name: {line: n for line, n in counter.items() if file in line} for name, counter in vars(self).items()}
        return Counts(**{name: Counter(lines) for name, lines in mine.items()})


class Counting:
    """Adds up, apart for the thread that launches, which is the one that opened the double, and for all others.

    Attributes:
        counts: of the launching thread.
        others: of the other threads: what these wait for does not keep the device from being fed.
    """

    def __init__(self) -> None:
        self.counts, self.others = Counts(), Counts()
        self._launcher = threading.get_ident()
        self._lock = threading.Lock()

    def add(self, *names: str) -> None:
        line = source_line()
        with self._lock:
            counts = self.counts if threading.get_ident() == self._launcher else self.others
            for name in names:
                getattr(counts, name)[line] += 1

    @contextmanager
    def during(self) -> Iterator[Counts]:
        """Counts of the launching thread from now on, filled in when the block ends."""
        before, counted = self.counts, Counts()
        self.counts = counted
        try:
            yield counted
        finally:
            self.counts = before
            for name, counter in vars(before).items():
                counter.update(getattr(counted, name))


def source_line() -> str:
    """The innermost line of the project that is being run in this thread."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(OURS):
            return f"{name.removeprefix(OURS[0])}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "?"
