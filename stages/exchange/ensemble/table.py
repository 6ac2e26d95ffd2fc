"""The table of an ensemble: every run beside the mean."""

from collections.abc import Mapping, Sequence
from typing import Any

NONE = "–"


def markdown(lines: Sequence[Mapping[str, Any]], metric: str | None) -> str:
    """
    Args:
        lines: name, weight (None = the mean's own), and figures in 0 … 1 by name; none without ground truth.
        metric: the figure that is quoted, which comes first; None = without ground truth.
    """
    names = list(dict.fromkeys(name for line in lines for name in line["figures"]))
    names.sort(key=lambda name: name != metric)
    head = ["run", "weight", *names]
    rule = ["---", *["---:"] * (len(head) - 1)]
    body = [
        [line["name"], _number(line["weight"]), *(_percent(line["figures"].get(n)) for n in names)] for line in lines
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *body))


def _number(weight: float | None) -> str:
    return NONE if weight is None else f"{weight:g}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"
