"""From scores of expressions to the figures of a split: what the deliverable's tables and metrics.json hold.

A row is one expression, as `stages.evaluate` writes it; a protocol may add columns (see its file):

| key | meaning |
|---|---|
| video, expression, caption, group | what the row is for |
| J, F, J&F | means over the frames that count, in 0 … 1; null without ground truth |
| no_target | true = the expression refers to nothing; null without ground truth |
| predicted_empty | the prediction is empty in every frame |
| missing | there was no prediction: it was scored as empty |
| confidence | sigmoid of the best chosen track's final score; 0 where none was chosen |
| tracks, frames | chosen tracks; frames of the video |
| boundary_ratio | the tolerance F was computed with |
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.core.records import Video
from stages.core.state.cache import CacheError, read_json, remedy
from stages.core.state.graph import EVALUATE, Layout
from stages.metrics.protocol import Figures, Protocol, Row
from stages.metrics.protocols import protocol_of


@dataclass(frozen=True)
class Evaluation:
    """The scores of a split.

    Attributes:
        protocol: a name of `stages.metrics.protocols`.
        rows: in the order of the videos and of their expressions.
        extras: video → what its protocol keeps besides rows.
    """

    protocol: str
    rows: Sequence[Row]
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a run has besides scores.

    Attributes:
        failed: video → why it has no answer.
        left_out: what the reader could not use of the index, one sentence each.
        notes: <video>/<expression> → why its answer is empty.
    """

    failed: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


def collect(layout: Layout, videos: Iterable[Video]) -> Evaluation:
    """What `stages.evaluate` wrote for all videos.

    Raises:
        CacheError: a video is not evaluated, or its file is damaged or is for other expressions.
        ValueError: the videos were scored by several protocols.
    """
    rows: list[Row] = []
    extras: dict[str, Any] = {}
    protocols: dict[str, str] = {}
    for video in videos:
        path = layout.file(EVALUATE, video.id)
        document = read_json(path, EVALUATE.name, EVALUATE.version)
        try:
            rows += _rows_of(video, document["rows"])
            extras[video.id] = document["extra"]
            protocols.setdefault(document["protocol"], video.id)
        except (KeyError, TypeError) as error:
            raise CacheError(
                f"{path}: lacks rows of the split's expressions ({error!r}); {remedy(EVALUATE.name)}"
            ) from error
    if len(protocols) > 1:
        raise ValueError(f"videos were scored by several protocols ({protocols}); evaluate all again")
    columns = dict.fromkeys(name for row in rows for name in row)  # unscored rows lack those of the protocol
    return Evaluation(next(iter(protocols), "none"), [{c: row.get(c) for c in columns} for row in rows], extras)


def summarise(evaluation: Evaluation, dataset: str, split: str, outcome: Outcome = Outcome()) -> dict[str, Any]:
    """The figures of a split.

    Returns:
        `dataset`, `split`, `truth` (whether there is ground truth at all), `counts`, `missing` (expressions
        without a prediction, as video/expression; they were scored as empty), `empty` (video/expression → why),
        `failed` (video → why), `left_out`, and all of these in one line, `summary`; with ground truth also `metric`
        (the figure to quote), `protocol` (what to quote it under), `figures` in 0 … 1 (None = no values to
        average), and, where the data set groups its expressions, `groups`: the same figures per group.

    Raises:
        ValueError: the rows were made with several boundary ratios.
    """
    rows = evaluation.rows
    scored = [row for row in rows if row["J&F"] is not None]
    counts = {
        "videos": len({row["video"] for row in rows}),
        "expressions": len(rows),
        "scored": len(scored),
        "no_target": sum(row["no_target"] for row in scored),
        "predicted_empty": sum(row["predicted_empty"] for row in rows),
        "missing": sum(row["missing"] for row in rows),
    }
    missing = [f"{row['video']}/{row['expression']}" for row in rows if row["missing"]]
    summary: dict[str, Any] = {"dataset": dataset, "split": split, "truth": bool(scored), "counts": counts}
    summary |= {"summary": in_a_line(rows, outcome), "missing": missing, "empty": dict(outcome.notes)}
    summary |= {"failed": dict(outcome.failed), "left_out": list(outcome.left_out)}
    if scored:
        protocol = protocol_of(evaluation.protocol)
        summary |= {"metric": protocol.metric, "protocol": protocol.title(scored)}
        summary["figures"] = protocol.figures(scored, evaluation.extras)
        groups = _groups(protocol, scored, evaluation.extras)
        summary |= {"groups": groups} if groups else {}
    return summary


def in_a_line(rows: Sequence[Row], outcome: Outcome) -> str:
    """Such as "8 videos, 42 expressions: 6 answered with nothing, 1 video failed (clip: the file is cut short)"."""
    n_videos = len({row["video"] for row in rows}) + len(outcome.failed)
    empty = [f"{row['video']}/{row['expression']}" for row in rows if row["predicted_empty"]]
    parts = []
    if empty:
        note = outcome.notes.get(empty[0], "")
        parts.append(f"{len(empty)} answered with nothing" + (f" ({empty[0]}: {note})" if note else ""))
    if outcome.failed:
        video, reason = next(iter(outcome.failed.items()))
        parts.append(f"{_count(len(outcome.failed), 'video')} failed ({video}: {reason})")
    if outcome.left_out:
        parts.append(f"{len(outcome.left_out)} left out ({outcome.left_out[0]})")
    remarks = ", ".join(parts) or "every one has an answer"
    return f"{_count(n_videos, 'video')}, {_count(len(rows), 'expression')}: {remarks}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _groups(protocol: Protocol, rows: Sequence[Row], extras: Mapping[str, Any]) -> dict[str, Figures]:
    names = sorted({row["group"] for row in rows} - {""})
    return {name: protocol.figures([row for row in rows if row["group"] == name], extras) for name in names}


def _checked(row: Row) -> Row:
    """Raises TypeError where a value is of another type than it was written with."""
    has_truth = row["J&F"] is not None
    flags = [row["predicted_empty"], row["missing"], *([row["no_target"]] if has_truth else [])]
    scores = [row[name] for name in ("J", "F", "J&F", "boundary_ratio")] if has_truth else []
    if not all(isinstance(flag, bool) for flag in flags) or not all(type(score) in (int, float) for score in scores):
        raise TypeError(f"no row of an expression: {row}")
    return row


def _rows_of(video: Video, rows: Sequence[Row]) -> list[Row]:
    row_of = {row["expression"]: _checked(row) for row in rows}
    return [
        {"video": video.id, "expression": e.id, "caption": e.text, "group": e.group, **row_of[e.id]}
        for e in video.expressions
    ]
