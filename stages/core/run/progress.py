"""How far a job is: a bar on a terminal, elsewhere a line now and then, with the time left.

A shard counts videos by their cost; what works on a video says how far inside it is, by `steps` around a loop,
or `advance`. Both look up the bar of the thread they run in, and do nothing where there is none: a worker needs
no bar passed through its layers, and the thread that writes the previous video does not move the bar.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO, TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from stages.core.run.logs import printing_loggers

T = TypeVar("T")

# Seconds between lines: a job of minutes says something often, a job of hours does not fill its log.
OFTEN, SELDOM, SHARE = 10.0, 60.0, 0.05
FIRST = 0.01  # of the work: from then on the time left is told, before it would be anything
NOTED = 0.25  # seconds between two notes for who watches from outside
# Environment variable: a folder in which every job also notes how far it is (stages/own/bar.py reads it).
NOTES = "REFEREE_NOTES"
BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"

# Takes the share, 0 to 1, of the item at hand that is done.
_report: ContextVar[Callable[[float], None] | None] = ContextVar("report", default=None)


class Progress:
    """The progress of one job; a context manager.

    Args:
        title: of the job.
        total: the work, in any unit.
        start: how much of it an earlier run has done; it does not count for the time left.
        silent: shows nothing, as in all but one of a training's processes.
        often: seconds between the first lines, where there is no terminal.
        stream: stderr, unless given.
        clock: seconds.
    """

    def __init__(
        self,
        title: str,
        total: float,
        *,
        start: float = 0.0,
        silent: bool = False,
        often: float = OFTEN,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.total, self.start, self.done = title, max(total, 1e-9), start, start
        self._stream, self._silent, self._often = stream or sys.stderr, silent, often
        self._clock, self._began = clock, clock()
        self._last = self._began
        self._spoke = False
        self._bar: tqdm | None = None
        self._open = ExitStack()
        self._note = _Note(title, clock)

    def __enter__(self) -> "Progress":
        if self._stream.isatty() and not self._silent:
            bar = tqdm(
                desc=self.title, total=self.total, initial=self.start, file=self._stream, bar_format=BAR, smoothing=0
            )
            self._bar = self._open.enter_context(bar)
            self._open.enter_context(logging_redirect_tqdm(printing_loggers()))
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the bar, or says how long it took; nothing is shown afterwards."""
        self._open.close()
        self._bar, self._silent = None, True
        if self._spoke:
            self._spoke = False
            self._write(f"{self._percent()}%, after {_span(self._clock() - self._began)}")

    def more(self, count: float) -> None:
        """Says that `count` more is done."""
        self.at(self.done + count)

    def at(self, done: float, note: str = "") -> None:
        """Says that `done` of `total` is done; `note` says what of it is at hand."""
        self.done = done
        self._note.write(done / self.total, note)
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
        elif not self._silent and self._is_due():
            self._write(", ".join(filter(None, [f"{self._percent()}%", note, self._left()])))
            self._last, self._spoke = self._clock(), True

    @contextmanager
    def item(self, cost: float, note: str = "") -> Iterator[None]:
        """Inside, `steps` and `advance` of this thread move within `cost` of the total; then it is done."""
        before = self.done
        with _reporting(lambda share: self.at(before + cost * share, note)):
            yield
        self.at(before + cost, note)

    def _is_due(self) -> bool:
        now = self._clock()
        return now - self._last >= min(max(self._often, SHARE * (now - self._began)), SELDOM)

    def _percent(self) -> int:
        return int(100 * min(self.done / self.total, 1.0) + 1e-9)

    def _left(self) -> str:
        done = self.done - self.start
        if done < FIRST * (self.total - self.start):
            return ""
        return f"{_span((self._clock() - self._began) * max(self.total - self.done, 0) / done)} left"

    def _write(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self.title}: {text}", file=self._stream, flush=True)


class _Note:
    """How far a job is, in a file that is replaced now and then; nothing where nobody watches."""

    def __init__(self, title: str, clock: Callable[[], float]) -> None:
        folder = os.environ.get(NOTES)
        self._path = Path(folder) / f"{os.getpid()}-{threading.get_ident()}.json" if folder else None
        self._title, self._clock, self._last = title, clock, -NOTED

    def write(self, share: float, note: str) -> None:
        now = self._clock()
        if self._path is None or now - self._last < NOTED:
            return
        self._last = now
        temporary = self._path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps({"title": self._title, "share": share, "note": note}), encoding="utf-8")
            temporary.replace(self._path)
        except OSError:  # whoever watched is gone
            self._path = None


def advance(share: float) -> None:
    """Says that `share`, 0 to 1, of the item at hand is done."""
    report = _report.get()
    if report is not None:
        report(share)


@contextmanager
def part(start: float, end: float) -> Iterator[None]:
    """Inside, 0 to 1 mean `start` to `end` of the item at hand: a loop within a loop."""
    outer = _report.get()
    with _reporting(None if outer is None else lambda share: outer(start + (end - start) * share)):
        yield
    advance(end)


def steps(items: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Passes `items` on; each is an equal part of the item at hand, and may have steps of its own.

    Args:
        total: how many there are, where `items` has no length.
    """
    if total is None:
        assert isinstance(items, Sized), "an iterator needs its total"
        total = len(items)
    for index, item in enumerate(items):
        with part(index / total, (index + 1) / total):
            yield item


@contextmanager
def _reporting(report: Callable[[float], None] | None) -> Iterator[None]:
    outer = _report.get()
    _report.set(report)
    try:
        yield
    finally:
        if _report.get() is report:  # a generator that an error left open is closed late
            _report.set(outer)


def _span(seconds: float) -> str:
    """Minutes and seconds, and hours where there are any."""
    return str(tqdm.format_interval(int(seconds)))
