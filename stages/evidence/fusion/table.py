"""What a decision is made from: a sentence and its tracks, with everything that is known of them, as arrays.

Legend: N tracks of a sentence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.core.records import Expression, TrackId, Video
from stages.core.state.choices import Candidate
from stages.core.state.evidence_file import ExpressionEvidence
from stages.evidence.fusion.number import number_of, says_looks_alone

NAN = float("nan")
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sentence:
    """A sentence and the tracks that it may mean.

    Attributes:
        video, expression: their ids.
        number: of objects that it asks for; None = unknown.
        looks_alone: whether it is a noun phrase and nothing else.
        tracks: their ids.
        score_N: the selector's logits; NaN where it has none.
        evidence: name → log-odds (N,) that the sentence refers to each track; NaN where nothing is known.
        existence: name → log-odds that it refers to anything; NaN where nothing is known.
        ious_NN: what the tracks share as tubes (stages/tracking/overlap.py); None where nobody asks for duplicates.
        asked: False for what has no word: it is answered with nothing.
        labels_N: which tracks it does refer to; None = not known.
    """

    video: str
    expression: str
    number: int | None
    tracks: tuple[TrackId, ...]
    score_N: Values
    evidence: Mapping[str, Values]
    existence: Mapping[str, float]
    ious_NN: NDArray[np.float32] | None = None
    asked: bool = True
    looks_alone: bool = False
    labels_N: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.tracks)


def open_sentence(
    video: Video,
    expression: Expression,
    candidates: Sequence[Candidate],
    gathered: Mapping[str, Mapping[str, ExpressionEvidence]],
    ious_NN: NDArray[np.float32] | None = None,
    labels_N: NDArray[np.bool_] | None = None,
) -> Sentence:
    """A sentence of a video.

    Args:
        candidates: its tracks and their scores.
        gathered: name of evidence → expression id → what is known.
    """
    about = {name: known.get(expression.id, ExpressionEvidence(())) for name, known in gathered.items()}
    log_odds = {name: known.log_odds for name, known in about.items()}
    return Sentence(
        video=video.id,
        expression=expression.id,
        number=number_of(expression.text),
        tracks=tuple(candidate.id for candidate in candidates),
        score_N=np.array([candidate.score for candidate in candidates], np.float64),
        evidence={
            name: np.array([of.get(candidate.id, NAN) for candidate in candidates], np.float64)
            for name, of in log_odds.items()
        },
        existence={name: NAN if known.existence is None else known.existence for name, known in about.items()},
        ious_NN=ious_NN,
        asked=expression.has_word,
        looks_alone=says_looks_alone(expression.text),
        labels_N=labels_N,
    )
