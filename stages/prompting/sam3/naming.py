"""Who names the concepts of a sentence: what each namer does, and the one that needs no model.

A sentence may name several things, as "the man and his dog"; each of them is sought by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stages.core.state.frames import FrameFolder
from stages.prompting.sam3.phrases import concepts

AT_FIRST = 2  # phrases that are compared: the core concept and a broader one


@dataclass(eq=False)
class Sought:
    """One thing that a sentence names.

    Attributes:
        text: the sentence.
        thing: which of those that it names.
        tried: phrases that SAM3 was asked for.
        kept: the one whose instances are the candidates; None = none has any so far.
    """

    text: str
    thing: int = 0
    tried: list[str] = field(default_factory=list)
    kept: str | None = None


class Namer(Protocol):
    """Names concepts; the same things with the same phrases tried get the same phrases."""

    def sought_in(self, text: str) -> list[Sought]:
        """What a sentence names."""
        ...

    def propose(self, sought: Sequence[Sought], frames: FrameFolder) -> list[list[str]]:
        """Phrases per thing that were not tried, the narrowest first; none where there is no other."""
        ...


class ByRule:
    """Nouns and their adjectives, broader from try to try (phrases.py)."""

    def sought_in(self, text: str) -> list[Sought]:
        return [Sought(text, thing) for thing in range(len(concepts(text)))]

    def propose(self, sought: Sequence[Sought], frames: FrameFolder) -> list[list[str]]:
        return [self.next(thing) for thing in sought]

    def next(self, sought: Sought) -> list[str]:
        """Phrases for one thing."""
        left = [phrase for phrase in concepts(sought.text)[sought.thing] if phrase not in sought.tried]
        return left[: 1 if sought.tried else AT_FIRST]
