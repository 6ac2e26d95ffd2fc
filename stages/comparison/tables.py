"""Tables of a comparison: CSV with every figure in 0 … 1, Markdown with the usual figures in percent."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.comparison.lines import Line, Spread, share_of_oracle
from stages.comparison.measure import BEST, OWN, Mix
from stages.comparison.recall import Ranks

SHOWN = ("J", "F", "J&F target", "N-acc", "T-acc", "Final")  # besides the quoted figure, where a protocol has them
DECIDED = ("J&F target", "N-acc", "T-acc", "Final")
NONE = "–"


def csv_of_lines(lines: Sequence[Line]) -> str:
    """One row per line; a figure's column is followed by its deviation's, "<figure> ±"."""
    return _csv([_flat(line) for line in lines])


def csv_of_ranks(ranks: Mapping[tuple[Mix, str, str], Ranks]) -> str:
    """One row per mix, order, run, level and number of kept tracks."""
    return _csv(
        [
            {"sources": "+".join(mix), "order": order, "run": run, "IoU": level, "tracks": k, "recall": float(recall)}
            for (mix, order, run), ranked in ranks.items()
            for level in ranked.places
            for k, recall in enumerate(ranked.curve(level), 1)
        ]
    )


def markdown(lines: Sequence[Line], metric: str) -> str:
    """The table of all expressions, and the quoted figure by group where there are groups."""
    usual = [name for name in SHOWN if any(name in line.figures for line in lines)]
    head = ["method", "tracks", "threshold", metric, "of oracle", *usual]
    body = [
        [line.name, line.sources, _threshold(line), _percent(line.figures[metric]), _share(line, lines, metric)]
        + [_percent(line.figures.get(name)) for name in usual]
        for line in lines
    ]
    groups = list(dict.fromkeys(group for line in lines for group in line.groups))
    table = _table(head, body)
    if not groups:
        return table
    by_group = [
        [line.name, line.sources, _threshold(line)]
        + [_percent(line.groups.get(group, {}).get(metric)) for group in groups]
        for line in lines
    ]
    return f"{table}\n{metric} by group:\n\n{_table(['method', 'tracks', 'threshold', *groups], by_group)}"


def decisions_markdown(decisions: Sequence[Line], lines: Sequence[Line], metric: str) -> str:
    """The table of decisions from scores and evidence, and the quoted figure by group where there are groups.

    Args:
        lines: of the whole comparison; the oracle is looked for among them.
    """
    usual = [name for name in DECIDED if any(name in line.figures for line in decisions)]
    head = ["decision", "tracks", "runs", metric, "of oracle", *usual, "questions", "seconds"]
    body = [
        [line.name, line.sources, str(line.runs), _percent(line.figures[metric]), _share(line, lines, metric)]
        + [_percent(line.figures.get(name)) for name in usual]
        + _cost(line)
        for line in decisions
    ]
    table = f"Decisions from scores and evidence:\n\n{_table(head, body)}"
    groups = list(dict.fromkeys(group for line in decisions for group in line.groups))
    if not groups:
        return table
    by_group = [
        [line.name, line.sources, str(line.runs)]
        + [_percent(line.groups.get(group, {}).get(metric)) for group in groups]
        for line in decisions
    ]
    return f"{table}\n{metric} of decisions by group:\n\n{_table(['decision', 'tracks', 'runs', *groups], by_group)}"


def _cost(line: Line) -> list[str]:
    """Questions and seconds per video."""
    assert line.cost is not None
    seconds = line.cost.seconds
    return [f"{line.cost.questions:,.0f}", NONE if seconds is None else f"{seconds:,.1f}"]


def _flat(line: Line) -> dict[str, Any]:
    row: dict[str, Any] = {"method": line.name, "sources": line.sources, "rule": line.label}
    row |= {"threshold": line.threshold, "runs": line.runs}
    if line.cost is not None:
        row |= {"questions per video": line.cost.questions, "seconds per video": line.cost.seconds}
    for prefix, figures in (("", line.figures), *((f"{group}: ", own) for group, own in line.groups.items())):
        for name, spread in figures.items():
            row[f"{prefix}{name}"] = None if spread is None else spread.mean
            row[f"{prefix}{name} ±"] = None if spread is None else spread.deviation
    return row


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    import pandas

    return str(pandas.DataFrame(rows).to_csv(index=False, lineterminator="\n"))


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * 3 + ["---:"] * (len(head) - 3)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *body))


def _threshold(line: Line) -> str:
    if line.label == OWN or line.threshold is None:
        return NONE
    value = f"{line.threshold:.2f}"
    names = {BEST: "best here", str(line.threshold): ""}
    return f"{value} {names.get(line.label, line.label)}".strip()


def _percent(spread: Spread | None) -> str:
    if spread is None:
        return NONE
    deviation = "" if spread.deviation is None else f" ± {100 * spread.deviation:.1f}"
    return f"{100 * spread.mean:.1f}{deviation}"


def _share(line: Line, lines: Sequence[Line], metric: str) -> str:
    share = share_of_oracle(line, lines, metric)
    return NONE if share is None else f"{100 * share:.0f} %"
