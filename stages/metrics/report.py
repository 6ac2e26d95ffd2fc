"""From scores of expressions to the figures of a split: what the deliverable's tables and metrics.json hold.

A row is one expression, as `stages.evaluate` writes it:

| key | meaning |
|---|---|
| video, expression, caption | whose it is |
| J, F, J&F | means over the video's frames, in 0 … 1; null without ground truth |
| no_target | true = the expression refers to nothing; null without ground truth |
| predicted_empty | the prediction is empty in every frame |
| tracks, frames | chosen tracks; frames of the video |
| boundary_ratio | the tolerance F was computed with |
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages.core.cache import CacheError, mend, read_json
from stages.core.graph import EVALUATE, Layout
from stages.core.records import Video
from stages.metrics.boundary import DAVIS_RATIO

Row = Mapping[str, Any]
SCORES = ("J", "F", "J&F")


def collect_rows(layout: Layout, videos: Iterable[Video]) -> list[dict[str, Any]]:
    """The rows of all videos, in the order of the videos and of their expressions.

    Raises:
        CacheError: a video is not evaluated, or its file is damaged or of other expressions.
    """
    return [row for video in videos for row in _rows_of(layout, video)]


def summarise(rows: Sequence[Row], dataset: str, split: str) -> dict[str, Any]:
    """The figures of a split, each the mean over the expressions it is defined for.

    Returns:
        `dataset`, `split`, `truth` (whether there is ground truth at all), `counts`; with ground truth also
        `metric`, `protocol` and `figures` in 0 … 1: J, F, J&F (all expressions), J&F target (those that
        refer to something), N-acc (share of no-target expressions predicted empty), T-acc (share of target
        expressions predicted non-empty) and Final = mean of J&F, N-acc and T-acc, the ranking of MeViS v2.
        A figure with nothing to be a mean of is None.

    Raises:
        ValueError: the rows were made with several boundary ratios.
    """
    scored = [row for row in rows if row["J&F"] is not None]
    counts = {
        "videos": len({row["video"] for row in rows}),
        "expressions": len(rows),
        "scored": len(scored),
        "no_target": sum(row["no_target"] for row in scored),
        "predicted_empty": sum(row["predicted_empty"] for row in rows),
    }
    summary: dict[str, Any] = {"dataset": dataset, "split": split, "truth": bool(scored), "counts": counts}
    if scored:
        summary |= {"metric": "J&F", "protocol": _protocol(scored), "figures": _figures(scored)}
    return summary


def _rows_of(layout: Layout, video: Video) -> list[dict[str, Any]]:
    path = layout.file(EVALUATE, video.id)
    rows = read_json(path, EVALUATE.name, EVALUATE.version).get("rows")
    try:
        found = {row["expression"]: row for row in rows}  # type: ignore[union-attr]
        captions = {e.id: e.text for e in video.expressions}
        return [{"video": video.id, "expression": e, "caption": captions[e], **found[e]} for e in captions]
    except (KeyError, TypeError) as error:
        raise CacheError(f"{path}: lacks rows of the split's expressions ({error!r}); {mend(EVALUATE.name)}") from error


def _figures(rows: Sequence[Row]) -> dict[str, float | None]:
    target = [row for row in rows if not row["no_target"]]
    absent = [row for row in rows if row["no_target"]]
    figures: dict[str, float | None] = {name: _mean(row[name] for row in rows) for name in SCORES}
    figures["J&F target"] = _mean(row["J&F"] for row in target)
    figures["N-acc"] = _mean(float(row["predicted_empty"]) for row in absent)
    figures["T-acc"] = _mean(float(not row["predicted_empty"]) for row in target)
    ranked = [figures[name] for name in ("J&F", "N-acc", "T-acc")]
    figures["Final"] = None if None in ranked else _mean(value for value in ranked if value is not None)
    return figures


def _mean(values: Iterable[float]) -> float | None:
    """The plain mean; None of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else None


def _protocol(rows: Sequence[Row]) -> str:
    """The name that figures are quoted under; a changed tolerance is not called official."""
    ratios = {row["boundary_ratio"] for row in rows}
    if len(ratios) > 1:
        raise ValueError(f"rows of several boundary ratios ({sorted(ratios)}) have no common F; evaluate all again")
    version = "v2" if any(row["no_target"] for row in rows) else "v1"
    (ratio,) = ratios
    kind = "official DAVIS J and F" if ratio == DAVIS_RATIO else f"DAVIS J and F, F with boundary ratio {ratio}"
    return f"MeViS {version}: mean over expressions of the mean over frames; {kind}"
