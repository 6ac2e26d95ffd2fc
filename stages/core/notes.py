"""Notes of loops over many files: one per kind, with a count and an example.

What differs between two notes of a kind are names and numbers: `shape` removes them.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# Quoted text (an apostrophe inside a word opens none), paths, numbers.
NAMES = re.compile(r"""(?<!\w)'(?:[^'\\]|\\.)*'|(?<!\w)"(?:[^"\\]|\\.)*"|\S*[/\\]\S*|\b[0-9][\w.:×-]*""")


def shape(message: str) -> str:
    """A message without its names, paths and numbers: equal for messages of one kind."""
    return NAMES.sub("…", message)


class Notes:
    """Counts messages by kind, and keeps the first of each as the example."""

    def __init__(self, messages: Iterable[str] = ()) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str] = {}
        for message in messages:
            self.add(message)

    def add(self, message: str, kind: str | None = None) -> bool:
        """Counts a message; returns whether it is the first of its kind (by default its `shape`)."""
        kind = shape(message) if kind is None else kind
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return self._examples.setdefault(kind, message) is message and self._counts[kind] == 1

    def lines(self) -> list[str]:
        """A line per kind, in the order in which the kinds were met."""
        return [with_count(self._examples[kind], n) for kind, n in self._counts.items()]

    def repeated(self) -> list[str]:
        """The lines of the kinds that were met more than once."""
        return [with_count(self._examples[kind], n) for kind, n in self._counts.items() if n > 1]


def with_count(example: str, n: int) -> str:
    return example if n == 1 else f"{example} [and {n - 1} more of this kind]"


class _OncePerKind(logging.Filter):
    """Lets through the first warning of each kind of some loggers, and counts the others."""

    def __init__(self, loggers: tuple[str, ...]) -> None:
        super().__init__()
        self.loggers = loggers
        self.notes: dict[tuple[str, int], Notes] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING or not record.name.startswith(self.loggers):
            return True
        notes = self.notes.setdefault((record.name, record.levelno), Notes())
        return notes.add(record.getMessage(), str(record.msg))


@contextmanager
def once_per_kind(handlers: Iterable[logging.Handler], *loggers: str) -> Iterator[None]:
    """As long as the block runs, `handlers` show one warning per kind; at its end, how many there were of each.

    A record's kind is its text before its arguments are filled in.

    Args:
        loggers: starts of the names of the loggers that this is for.
    """
    handlers = list(handlers)
    counted = _OncePerKind(loggers)
    for handler in handlers:
        handler.addFilter(counted)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(counted)
        for (name, level), notes in counted.notes.items():
            for line in notes.repeated():
                logging.getLogger(name).log(level, "%s", line)
