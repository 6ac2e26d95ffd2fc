"""The columns of a fusion: what is known of a track, as numbers that are weighed.

| column | value |
|---|---|
| score | the selector's logit |
| evidence.<name> | log-odds that the sentence refers to the track |
| existence.<name> | log-odds that it refers to anything, the same for all of its tracks |
| <column>.missing | 1 where nothing is known; the column itself is 0 there |
| <column>.behind | the value less the best of the sentence (score and evidence) |
| <column>.looks | the value again where the sentence says nothing but looks, 0 elsewhere (score and evidence) |

Legend: N tracks of a sentence, D columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stages.evidence.fusion.table import Sentence, Values

SCORE, EVIDENCE, EXISTENCE = "score", "evidence.", "existence."
MISSING, BEHIND, LOOKS = ".missing", ".behind", ".looks"


@dataclass(frozen=True)
class Inputs:
    """What a fusion looks at.

    Attributes:
        evidence, existence: names of evidence.
        score: whether the selector's score is among it.
        behind: whether values less the best of their sentence are columns too.
        looks: whether sentences that say nothing but looks have weights of their own.
    """

    evidence: tuple[str, ...] = ()
    existence: tuple[str, ...] = ()
    score: bool = True
    behind: bool = False
    looks: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns of plain values, in the order in which they are added."""
        evidence = [EVIDENCE + name for name in sorted(self.evidence)]
        existence = [EXISTENCE + name for name in sorted(self.existence)]
        return (*([SCORE] if self.score else []), *evidence, *existence)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for source in self.sources for name in self._of(source))

    def without(self, source: str) -> "Inputs":
        """The inputs but one of `sources`."""
        evidence = tuple(name for name in self.evidence if EVIDENCE + name != source)
        existence = tuple(name for name in self.existence if EXISTENCE + name != source)
        return Inputs(evidence, existence, self.score and source != SCORE, self.behind, self.looks)

    def _of(self, source: str) -> Iterator[str]:
        yield source
        yield source + MISSING
        if self.behind and not source.startswith(EXISTENCE):
            yield source + BEHIND
        if self.looks and not source.startswith(EXISTENCE):
            yield source + LOOKS


def column(sentence: Sentence, name: str) -> Values:
    """(N,) a column; 0 where its value is not known."""
    source = name.removesuffix(MISSING).removesuffix(BEHIND).removesuffix(LOOKS)
    values_N = _values(sentence, source)
    missing_N = np.isnan(values_N)
    if name.endswith(MISSING):
        return missing_N.astype(np.float64)
    if name.endswith(BEHIND):
        values_N = values_N - np.max(values_N, where=~missing_N, initial=-np.inf)
    if name.endswith(LOOKS) and not sentence.looks_alone:
        values_N = np.zeros(len(values_N))
    return np.where(missing_N, 0.0, values_N)


def table_of(sentence: Sentence, names: tuple[str, ...]) -> Values:
    """(N, D) columns by name."""
    return np.stack([column(sentence, name) for name in names], 1) if names else np.zeros((len(sentence), 0))


def _values(sentence: Sentence, source: str) -> Values:
    """(N,) what a source says; NaN where it says nothing."""
    nothing_N = np.full(len(sentence), np.nan)
    if source == SCORE:
        return sentence.score_N
    if source.startswith(EVIDENCE):
        return sentence.evidence.get(source.removeprefix(EVIDENCE), nothing_N)
    assert source.startswith(EXISTENCE), source
    return np.full(len(sentence), sentence.existence.get(source.removeprefix(EXISTENCE), np.nan))
