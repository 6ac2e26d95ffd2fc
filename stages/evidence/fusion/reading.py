"""From the cache to sentences, and from decisions to what is written of them.

A file of decisions says under "why" how they were made:

    {"fitted_on": "shapes/dev" or null, "rule": {"kind": "number", "low": .3, …}, "bias": .1,
     "weights": {column: weight}, "same_iou": .8 or null,
     "expressions": {id: {"number": 2 or null, "existence": {name: log-odds}}}}

Columns: stages/evidence/fusion/features.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.records import Video
from stages.core.state.choices import Candidate, Choices
from stages.core.state.evidence_file import ExpressionEvidence, read_evidence
from stages.core.state.graph import GATHER_EVIDENCE, Layout
from stages.evidence.fusion.decide import Decision, Fusion
from stages.evidence.fusion.features import Inputs
from stages.evidence.fusion.table import Sentence, open_sentence


def read_gathered(layout: Layout, video: Video, names: Sequence[str]) -> dict[str, dict[str, ExpressionEvidence]]:
    """Name of evidence → expression id → what is known; raises CacheError where a file is missing or damaged."""
    return {name: read_evidence(layout.file(GATHER_EVIDENCE, video.id, name)) for name in names}


def sentences_of(
    layout: Layout,
    video: Video,
    choices: Choices,
    gathered: Mapping[str, Mapping[str, ExpressionEvidence]],
    *,
    overlaps: bool,
    labels: Mapping[str, NDArray[np.bool_]] | None = None,
) -> list[Sentence]:
    """The sentences of a video, in its order.

    Args:
        choices: expression id → its tracks and their scores.
        overlaps: whether near-duplicates are asked for: then the tracks' masks are read.
        labels: expression id → (N,) which of its tracks it refers to; sentences without labels are left out.
    """
    ids = list(dict.fromkeys(candidate.id for candidates in choices.values() for candidate in candidates))
    row_of = {track: row for row, track in enumerate(ids)}
    ious_MM = _overlaps(layout, video, ids) if overlaps else None
    sentences = []
    for expression in video.expressions:
        if labels is not None and expression.id not in labels:
            continue
        candidates = choices[expression.id]
        rows = [row_of[candidate.id] for candidate in candidates]
        ious_NN = None if ious_MM is None else ious_MM[np.ix_(rows, rows)]
        labels_N = None if labels is None else labels[expression.id]
        sentences.append(open_sentence(video, expression, candidates, gathered, ious_NN, labels_N))
    return sentences


def inputs_of(sentences: Sequence[Sentence], *, behind: bool, looks: bool) -> Inputs:
    """Score and all evidence that says something of some sentence: of its tracks, or of existence."""
    said = [(name, of) for sentence in sentences for name, of in sentence.evidence.items()]
    evidence = dict.fromkeys(name for name, of in said if not np.isnan(of).all())
    asked = [(name, of) for sentence in sentences for name, of in sentence.existence.items()]
    existence = dict.fromkeys(name for name, of in asked if not math.isnan(of))
    return Inputs(tuple(evidence), tuple(existence), behind=behind, looks=looks)


def decided(candidates: Sequence[Candidate], sentence: Sentence, decision: Decision) -> list[Candidate]:
    """The candidates with `evidence`, `final` and `chosen` filled in."""
    return [
        replace(
            candidate,
            evidence={name: float(of[n]) for name, of in sorted(sentence.evidence.items()) if not np.isnan(of[n])},
            final=float(decision.final_N[n]),
            chosen=bool(decision.chosen_N[n]),
        )
        for n, candidate in enumerate(candidates)
    ]


def reasons(fusion: Fusion, fitted_on: str | None, sentences: Sequence[Sentence]) -> dict[str, Any]:
    """What a file of decisions says under "why"."""
    about = {
        sentence.expression: {
            "number": sentence.number,
            "existence": {name: value for name, value in sentence.existence.items() if not math.isnan(value)},
        }
        for sentence in sentences
    }
    return {
        "fitted_on": fitted_on,
        **fusion.to_json(),
        "expressions": about,
    }


def _overlaps(layout: Layout, video: Video, ids: Sequence[Any]) -> NDArray[np.float32]:
    from stages.tracking.overlap import tube_ious

    return tube_ious(layout, video.id, ids)
