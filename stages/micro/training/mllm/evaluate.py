"""How well a judge tells candidates apart on held-out videos: through the pipeline's loader, views, questions and candidates.

Every pair of a candidate and a sentence gets log-odds; figures are areas under the ROC curve over pairs, in all and by
kind of sentence and clause, and over sentences, with and without a target, by their best candidate.

Legend: N candidates, E sentences, P pairs.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.config.loading import load_config, settings_of
from stages.core.records import Video
from stages.core.run.batches import Batches
from stages.core.state.graph import BUILD_TRACKS, Layout
from stages.core.state.track_file import read_membership
from stages.datasets import open_split
from stages.evidence.backends.transformers import load_judge
from stages.evidence.candidates import candidate_tracks
from stages.evidence.judging.candidates import Grouping
from stages.evidence.prompts import ask_of_block
from stages.evidence.questions import Judge, Question
from stages.evidence.views.compose import Composition, compose
from stages.evidence.views.video import VideoView
from stages.evidence.views.view import View
from stages.micro.training.mllm.generate import endless_record
from stages.micro.training.mllm.records import SENTENCE, UNKNOWN, VIEWS
from stages.micro.training.mllm.truth import OTHER, SAME

HELD_OUT = 2**31  # seed of generated scenes that no training sees
MIXES = {"card+facts": ("card", "facts"), "card": ("card",), "facts": ("facts",)}
SAME_IOU = 0.8
PER_PASS = 32
FEWEST = 5  # true pairs of a clause that has a figure


@dataclass(frozen=True)
class Pair:
    """A candidate and a sentence.

    Attributes:
        sentence: what all pairs of a sentence share.
        kind: of the sentence; clause: of its first part, "" = none or unknown.
        true: whether the sentence refers to the candidate.
    """

    sentence: tuple[str, str]
    kind: str
    clause: str
    true: bool
    log_odds: float


def measure(folder: Path, n_scenes: int, config: str | None, split: str) -> dict[str, Any]:
    """Figures on generated scenes with a tracker's mistakes, by views, and on tracks of a split of `shapes`.

    Raises:
        ValueError: `folder` holds no MLLM, or tracks of the split are missing.
    """
    judge = load_judge(folder, "cpu", "float32", Batches(PER_PASS, "questions"))
    figures = {f"scenes, {name}": figures_of(list(on_scenes(judge, n_scenes, views))) for name, views in MIXES.items()}
    if config is not None:
        for name, views in MIXES.items():
            pairs = list(on_tracks(judge, config, "shapes", split, [VIEWS[view] for view in views]))
            figures[f"{split}, {name}"] = figures_of(pairs)
    return figures


def on_scenes(judge: Judge, count: int, views: Sequence[str]) -> Iterator[Pair]:
    """Pairs of generated scenes; sentences alone, no statements."""
    for index in range(count):
        record = endless_record(HELD_OUT, index)
        rows = [e for e, form in enumerate(record.forms) if form == SENTENCE]
        odds_EN = asked_about(judge, record.composition(views), record.first, [record.sentences[e] for e in rows])
        for e, odds_N in zip(rows, odds_EN):
            for n, log_odds in enumerate(odds_N.tolist()):
                if (label := int(record.labels_EN[e, n])) != UNKNOWN:
                    yield Pair((str(index), str(e)), "", "", label == 1, log_odds)


def on_tracks(judge: Judge, config: str, dataset: str, split: str, views: Sequence[View]) -> Iterator[Pair]:
    """Pairs of the tracks of a split that the judge would be asked about, with its sentences; none of a track that is
    partly a referred object, since neither answer is right.
    """
    loaded = load_config(config)
    layout = Layout.of(loaded, dataset, split)
    sources = settings_of(loaded, dataset).selector.sources.evaluate
    scenes = json.loads((Path(loaded.datasets[dataset].root) / split / "scenes.json").read_text(encoding="utf-8"))
    for video in open_split(loaded, dataset, split).videos():
        clauses = [meaning[0]["clause"] or "" for meaning in scenes[video.id]["meanings"]]
        yield from _on_video(judge, layout, video, sources, views, clauses)


def _on_video(
    judge: Judge, layout: Layout, video: Video, sources: Sequence[str], views: Sequence[View], clauses: Sequence[str]
) -> Iterator[Pair]:
    view = VideoView(layout, video.id)
    tracks = {e: [t for t in of if view.is_seen(t)] for e, of in candidate_tracks(layout, video, sources).items()}
    grouping = Grouping(layout, video.id, [t for of in tracks.values() for t in of], SAME_IOU)
    labels = {source: read_membership(layout.file(BUILD_TRACKS, video.id, source)).labels for source in sources}
    compositions: dict[Any, Composition] = {}
    for expression, clause in zip(video.expressions, clauses, strict=True):
        shown = tuple(c.shown for c in grouping.candidates(dict.fromkeys(tracks[expression.id])))
        if not shown or expression.annotations is None:
            continue
        if shown not in compositions:
            compositions[shown] = compose(views, view.scene(shown), ())
        (odds_N,) = asked_about(judge, compositions[shown], 1, [expression.text])
        for (source, row), log_odds in zip(shown, odds_N.tolist(), strict=True):
            known = labels[source]
            assert known is not None
            columns = [known.annotations.index(key) for key in expression.annotations]
            iou = float(known.iou_NA[row, columns].max(initial=0.0))
            if iou >= SAME or iou <= OTHER:
                yield Pair((video.id, expression.id), expression.group, clause, iou >= SAME, log_odds)


def asked_about(judge: Judge, composition: Composition, first: int, texts: Sequence[str]) -> NDArray[np.float64]:
    """(E, N) log-odds, averaged over both polarities."""
    questions = [
        Question(composition.context, (*composition.about(n), words))
        for text in texts
        for n in range(len(composition.blocks))
        for words in ask_of_block(text, first + n)
    ]
    odds = np.array([reply.log_odds for reply in judge.answer(questions)]).reshape(len(texts), -1, 2)
    return (odds[..., 0] - odds[..., 1]) / 2


def figures_of(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Areas under the curve: of all pairs, by kind, by clause, and of "has a target" by a sentence's best candidate."""
    kinds = sorted({pair.kind for pair in pairs} - {""})
    clauses = sorted({pair.clause for pair in pairs} - {""})
    by_kind = {kind: area([pair for pair in pairs if pair.kind == kind]) for kind in kinds}
    of_clause = {clause: [pair for pair in pairs if pair.clause == clause] for clause in clauses}
    by_clause = {clause: area(of) for clause, of in of_clause.items() if sum(pair.true for pair in of) >= FEWEST}
    figures: dict[str, Any] = {"pairs": len(pairs), "all": area(pairs), "target": area(list(_best(pairs)))}
    return figures | {"kinds": by_kind, "clauses": by_clause} if kinds else figures


def _best(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """One pair per sentence: its best candidate, and whether it has a target among them."""
    of: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        of.setdefault(pair.sentence, []).append(pair)
    for sentence, own in of.items():
        yield Pair(sentence, "", "", any(p.true for p in own), max(p.log_odds for p in own))


def area(pairs: Sequence[Pair]) -> float | None:
    """Under the ROC curve; None where all are true or none is."""
    from sklearn.metrics import roc_auc_score

    if len({pair.true for pair in pairs}) < 2:
        return None
    return round(float(roc_auc_score([p.true for p in pairs], [p.log_odds for p in pairs])), 4)


def rows_of(figures: dict[str, Any]) -> list[str]:
    """Rows of the card's table: what was judged, with which views, and its figures."""
    rows = []
    for name, of in figures.items():
        kinds = ", ".join(f"{kind} {value}" for kind, value in of.get("kinds", {}).items() if value is not None)
        rows.append(f"| {name} | {of['pairs']} | {of['all']} | {of['target']} | {kinds} |")
    return rows
