"""A table of named values that can be added to: what the open tables are (stages/core/tables.py)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar

from stages.core.config.section import NAME, Section


class Named(Protocol):
    """A value of a table."""

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """Raises ValueError where the value contradicts itself."""


T = TypeVar("T", bound=Named)


class Table(Mapping[str, T], Generic[T]):
    """Values by name, in the order of their list.

    Args:
        what: a value in words, for messages.
        home: "module:attribute" of the list.
    """

    def __init__(self, what: str, home: str) -> None:
        self.what, self.home = what, home
        self._values: dict[str, T] | None = None

    def __getitem__(self, name: str) -> T:
        """Raises UnknownName, a KeyError that names the nearest known value."""
        values = self._loaded()
        if name not in values:
            raise UnknownName(self.what, name, values)
        return values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    @contextmanager
    def extended_by(self, value: T) -> Iterator[None]:
        """The table with one more value, for as long as the block runs."""
        before = self._loaded()
        self._values = self._with(dict(before), value)
        try:
            yield
        finally:
            self._values = before

    def _loaded(self) -> dict[str, T]:
        if self._values is None:
            module, _, attribute = self.home.partition(":")
            values: dict[str, T] = {}
            for value in getattr(import_module(module), attribute):
                values = self._with(values, value)
            self._values = values
        return self._values

    def _with(self, values: dict[str, T], value: T) -> dict[str, T]:
        if not NAME.fullmatch(value.name) or hasattr(Section, value.name):
            raise ValueError(f"{self.what} {value.name!r}: a name has lower-case letters, digits and '_' ({self.home})")
        if value.name in values:
            raise ValueError(f"{self.what} {value.name!r} is there twice ({self.home})")
        value.check()
        values[value.name] = value
        return values


class UnknownName(KeyError, ValueError):
    """A name that its table does not know."""

    def __init__(self, what: str, name: str, known: Mapping[str, Any]) -> None:
        close = get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        super().__init__(f"no {what} {name!r}; {hint}")

    def __str__(self) -> str:  # KeyError would quote it
        return str(self.args[0])
