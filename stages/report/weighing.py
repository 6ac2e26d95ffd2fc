"""What each candidate's score is made of: the columns of the fusion, times their weights.

Legend: N tracks of an expression.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.records import Video
from stages.core.state.choices import Candidate
from stages.core.state.evidence_file import ExpressionEvidence
from stages.core.state.graph import Layout
from stages.evidence.fusion.decide import groups_of
from stages.evidence.fusion.features import column
from stages.evidence.fusion.reading import sentences_of
from stages.evidence.fusion.table import Sentence

Answers = Mapping[str, Sequence[Candidate] | None]


def open_sentences(
    layout: Layout,
    video: Video,
    answers: Answers,
    gathered: Mapping[str, Mapping[str, ExpressionEvidence]],
    why: Mapping[str, Any] | None,
) -> dict[str, Sentence]:
    """Expression id → what its decision was made from; empty for another system's decisions.

    Raises:
        CacheError: near-duplicates count once, and a track file cannot be used.
    """
    if why is None:
        return {}
    choices = {expression: list(candidates or ()) for expression, candidates in answers.items()}
    overlaps = why["same_iou"] is not None and any(choices.values())
    return {s.expression: s for s in sentences_of(layout, video, choices, gathered, overlaps=overlaps)}


def terms_of(sentence: Sentence, why: Mapping[str, Any]) -> list[list[float]]:
    """Per candidate weight · column, in the order of why["weights"]; with `bias` they sum to S of the track by itself."""
    columns = [weight * column(sentence, name) for name, weight in why["weights"].items()]
    return [[round(float(term[n]), 4) for term in columns] for n in range(len(sentence))]


def objects_of(sentence: Sentence, why: Mapping[str, Any]) -> list[int]:
    """Per candidate the object that it shows: near-duplicates share one."""
    if not len(sentence):
        return []
    return [int(group) for group in groups_of(sentence, why["same_iou"])]
